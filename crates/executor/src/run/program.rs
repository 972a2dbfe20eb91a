//! Looking a program up and executing it.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, statat};
use rustix::io::Errno;

use super::failure::StepError;

/// The path of the program `name`: looked up in `search` if it has no slash. Texts are those that users of Go's os/exec
/// know.
pub(super) fn find(name: &CStr, search: &[PathBuf]) -> Result<CString, StepError> {
    let text = String::from_utf8_lossy(name.to_bytes()).into_owned();
    let name = Path::new(OsStr::from_bytes(name.to_bytes()));
    if name.as_os_str().as_bytes().contains(&b'/') {
        return match check(name) {
            Ok(()) => Ok(path(name)),
            Err(Errno::NOENT) => {
                Err(StepError::saying(format!("exec: {text:?}: stat {text}: no such file or directory")))
            }
            Err(errno) => Err(StepError::saying(format!("exec: {text:?}: {}", lowercase(errno)))),
        };
    }
    let mut refused = None;
    for folder in search {
        let candidate = folder.join(name);
        match check(&candidate) {
            Ok(()) => return Ok(path(&candidate)),
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => refused = Some((candidate, errno)),
            Err(_) => {}
        }
    }
    Err(StepError::saying(match refused {
        Some((candidate, errno)) => format!("exec: {:?}: {}", candidate.display().to_string(), lowercase(errno)),
        None => format!("exec: {text:?}: executable file not found in $PATH"),
    }))
}

/// Whether it is a file that this process may execute.
fn check(path: &Path) -> Result<(), Errno> {
    let stat = statat(CWD, path, AtFlags::empty())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

fn path(path: &Path) -> CString {
    // It was made of a C string and of folders from one.
    CString::new(path.as_os_str().to_owned().into_vec()).unwrap_or_default()
}

/// Executes the program; returns only with why it could not.
pub(super) fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> StepError {
    let errno = cradle_sys::process::execute(program, arguments, environment);
    let text = String::from_utf8_lossy(program.to_bytes());
    StepError::saying(match errno {
        Errno::NOENT => {
            format!("exec {text}: no such file or directory: is the interpreter or loader that it names in the image?")
        }
        Errno::NOEXEC => format!("exec {text}: exec format error: is it a program for this machine?"),
        errno => format!("exec {text}: {}", lowercase(errno)),
    })
}

fn lowercase(errno: Errno) -> String {
    cradle_sys::errno::describe(errno.raw_os_error()).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_program_is_found_or_the_reason_told() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, mode| {
            let path = folder.path().join(name);
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            CString::new(path.into_os_string().into_vec()).unwrap()
        };
        let program = make("program", 0o755);
        let data = make("data", 0o644);
        let search = [PathBuf::from("/nonexistent"), folder.path().to_owned()];
        assert_eq!(find(c"program", &search).unwrap(), program);
        assert_eq!(find(&program, &[]).unwrap(), program);
        let refusal = |name: &CStr| find(name, &search).unwrap_err().detail;
        assert_eq!(refusal(c"foo"), "exec: \"foo\": executable file not found in $PATH");
        assert_eq!(refusal(c"/foo"), "exec: \"/foo\": stat /foo: no such file or directory");
        assert_eq!(refusal(c"/etc"), "exec: \"/etc\": is a directory");
        assert!(refusal(&data).ends_with(": permission denied"));
        assert!(refusal(c"data").ends_with("/data\": permission denied"));
    }
}
