//! BPF programs given to the kernel: device rules of a control group (bpf(2)) and system call filters (seccomp(2)).
use std::io;

/// Installs a filter for the calling thread and what it starts. Needs no_new_privs or CAP_SYS_ADMIN.
///
/// `filter` holds one `struct sock_filter` in each number. Safe between clone and exec: it does not allocate.
pub fn install_seccomp_filter(filter: &[u64], flags: u32) -> io::Result<()> {
    let length = u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: seccomp(2) reads `len` entries of 8 bytes each, which is what `filter` holds, and keeps no pointer to them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
