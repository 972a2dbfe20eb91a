//! Network interfaces, as far as an ioctl goes.

use std::ffi::CStr;

use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::os::fd::AsRawFd;

use crate::errno::check;

/// Sets the interface `name` of this network namespace up (netdevice(7)).
pub fn set_up(name: &CStr) -> Result<()> {
    let name = name.to_bytes_with_nul();
    if name.len() > libc::IFNAMSIZ {
        return Err(Errno::NAMETOOLONG);
    }
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut request =
        libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 } };
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    // SAFETY: the request is an ifreq with a NUL-terminated name, into which the kernel writes the flags.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as libc::Ioctl, &raw mut request) }.into())?;
    // SAFETY: the flags are the member that the call above has written.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_flags: flags | libc::IFF_UP as libc::c_short };
    // SAFETY: as for the first call; the kernel only reads.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &raw const request) }.into())
        .map(drop)
}
