//! The pages of the program itself.

use std::fs;
use std::io;
use std::path::Path;

/// Lets go of the pages of this program's code: what runs from now on brings its own back, from the page cache, and what
/// only the start or a pull needed costs no memory any more.
///
/// # Errors
/// The mappings could not be read; nothing has changed then.
pub fn release() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    for (start, length) in mappings(&fs::read_to_string("/proc/self/maps")?, &program) {
        // SAFETY: the pages are private ones of a file that cannot be written to while it runs (ETXTBSY), and mapped
        // without the right to write, so each comes back as it was when it is used next (madvise(2)). An error leaves
        // them as they are.
        let _ = unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), length, libc::MADV_DONTNEED) };
    }
    Ok(())
}

/// Start and length of what is mapped from the program to be executed (proc_pid_maps(5)).
fn mappings(maps: &str, program: &Path) -> Vec<(usize, usize)> {
    let of_line = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let path = rest.split_once('/').map(|(_, path)| format!("/{path}"))?;
        if !rest.starts_with("r-xp ") || Path::new(&path) != program {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        Some((start, usize::from_str_radix(end, 16).ok()?.checked_sub(start)?))
    };
    maps.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_code_is_meant() {
        let maps = "\
            1000-3000 r--p 00000000 fe:01 7 /usr/bin/a b\n\
            3000-9000 r-xp 00002000 fe:01 7 /usr/bin/a b\n\
            9000-a000 rw-p 00008000 fe:01 7 /usr/bin/a b\n\
            b000-c000 r-xp 00000000 fe:01 8 /lib/libc.so.6\n\
            d000-e000 r-xp 00000000 00:00 0 [vdso]\n";
        assert_eq!(mappings(maps, Path::new("/usr/bin/a b")), [(0x3000, 0x6000)]);
    }

    #[test]
    fn the_program_runs_on() {
        release().unwrap();
        assert_eq!(
            mappings(&fs::read_to_string("/proc/self/maps").unwrap(), &std::env::current_exe().unwrap()).len(),
            1
        );
    }
}
