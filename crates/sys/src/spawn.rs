//! Starting a program from a process with many threads: posix_spawn(3), which runs nothing of ours in the copy of the
//! process (invariant 1).

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// A program to start, in a session of its own, with an empty signal mask and every signal at its default.
#[derive(Debug)]
pub struct Program<'a> {
    /// Absolute path.
    pub path: &'a CStr,
    /// Arguments, the first being the name that `ps` shows.
    pub arguments: &'a [CString],
    pub environment: &'a [CString],
    /// Descriptors that the program shall have, each with its number there. All others are closed by their own flag:
    /// every descriptor of ours is opened close-on-exec.
    pub descriptors: &'a [(BorrowedFd<'a>, i32)],
}

/// Starts `program`; returns its process id. The caller reaps it.
///
/// # Errors
/// Those of posix_spawn(3), among them the errors of execve(2).
pub fn spawn(program: &Program<'_>) -> io::Result<i32> {
    // Copies above all target numbers, so that no dup2 overwrites the source of a later one.
    let floor = program.descriptors.iter().map(|(_, target)| target + 1).max().unwrap_or(0).max(10);
    let sources = program
        .descriptors
        .iter()
        .map(|(fd, _)| Ok(rustix::io::fcntl_dupfd_cloexec(fd, floor)?))
        .collect::<io::Result<Vec<OwnedFd>>>()?;
    let mut actions = FileActions::new()?;
    for (source, (_, target)) in sources.iter().zip(program.descriptors) {
        actions.dup2(source.as_raw_fd(), *target)?;
    }
    let attributes = Attributes::own_session()?;
    let arguments = pointers(program.arguments);
    let environment = pointers(program.environment);
    let mut pid = 0;
    // SAFETY: all pointers are to live, NUL-terminated strings and initialised objects; both arrays end with NULL.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.path.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    };
    check(error).map(|()| pid)
}

fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    strings.iter().map(|string| string.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
}

/// The posix_spawn family returns its error instead of setting errno.
fn check(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the pointer is to writable memory of the right size.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: a successful init has initialised it.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn dup2(&mut self, source: i32, target: i32) -> io::Result<()> {
        // SAFETY: `self.0` is initialised; the numbers are checked by the call.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, source, target) })
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: `self.0` is initialised and not used afterwards.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// A session of its own, no signal blocked, every signal at its default.
    fn own_session() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the pointer is to writable memory of the right size.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: a successful init has initialised it.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK | i32::from(libc::POSIX_SPAWN_SETSID);
        let flags = i16::try_from(flags).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: `attributes.0` is initialised.
        check(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        let mut set = MaybeUninit::uninit();
        // SAFETY: the pointer is to writable memory of the right size, which the call initialises.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: both objects are initialised.
        check(unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes.0, set.as_ptr()) })?;
        // SAFETY: as above; the call initialises the set anew.
        unsafe { libc::sigfillset(set.as_mut_ptr()) };
        // SAFETY: both objects are initialised.
        check(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, set.as_ptr()) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: `self.0` is initialised and not used afterwards.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn a_spawned_program_has_its_descriptors_and_leads_a_session() {
        let (reader, writer) = io::pipe().unwrap();
        let script = c"echo to three >&3; test -e /proc/self/fd/9 && echo nine >&3; ps -o sid= -p $$ | grep -qw $$ && echo leader >&3";
        let pid = spawn(&Program {
            path: c"/bin/sh",
            arguments: &[c"sh".into(), c"-c".into(), script.into()],
            environment: &[c"PATH=/usr/bin:/bin".into()],
            descriptors: &[(writer.as_fd(), 3)],
        })
        .unwrap();
        drop(writer);
        let mut text = String::new();
        { reader }.read_to_string(&mut text).unwrap();
        rustix::process::waitpid(rustix::process::Pid::from_raw(pid), rustix::process::WaitOptions::empty()).unwrap();
        assert_eq!(text, "to three\nleader\n");
    }

    #[test]
    fn a_missing_program_is_an_error_and_no_process() {
        let program = Program { path: c"/nonexistent", arguments: &[], environment: &[], descriptors: &[] };
        assert_eq!(spawn(&program).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
