//! BPF programs given to the kernel: device rules of a control group (bpf(2)) and system call filters (seccomp(2)).
//!
//! The programs come as numbers, one instruction in each, as `struct bpf_insn` and `struct sock_filter` lie in memory on
//! a little-endian machine.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, Result};

use crate::errno::check;

#[cfg(not(target_endian = "little"))]
compile_error!("instructions are packed into numbers for little-endian machines");

/// Commands, types and flags of bpf(2), from linux/bpf.h; libc has none of them.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// `union bpf_attr` for each command, as far as it is used; the kernel takes what is missing for zero.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// bpf(2) with a structure of its union.
fn bpf<T>(command: libc::c_int, attributes: &mut T) -> Result<libc::c_long> {
    let size = size_of::<T>();
    // SAFETY: the kernel reads and writes at most `size` bytes of `attributes`, which is borrowed mutably; addresses in
    // it are set by the callers to buffers that outlive the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) })
}

/// Takes a descriptor that a system call has just returned.
fn own(returned: libc::c_long) -> Result<OwnedFd> {
    let descriptor = RawFd::try_from(returned).map_err(|_| Errno::BADF)?;
    // SAFETY: the descriptor was just made by the kernel for us, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn raw(descriptor: BorrowedFd<'_>) -> Result<u32> {
    u32::try_from(descriptor.as_raw_fd()).map_err(|_| Errno::BADF)
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr().addr() as u64
}

/// Hands a program of the type BPF_PROG_TYPE_CGROUP_DEVICE to the kernel, which verifies it (EACCES, EINVAL).
pub fn load_device_program(instructions: &[u64]) -> Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attributes = Load {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(instructions.len()).map_err(|_| Errno::TOOBIG)?,
        instructions: address(instructions),
        license: address(license.to_bytes_with_nul()),
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"cradle_devices\0\0",
    };
    bpf(BPF_PROG_LOAD, &mut attributes).and_then(own)
}

/// Attaches a device program to a group of the unified tree, beside others and such that groups below may have more;
/// access needs the consent of all. It stays until it is detached or the group is removed.
pub fn attach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    attach(BPF_PROG_ATTACH, group, program, BPF_F_ALLOW_MULTI)
}

/// Detaches the program with this id from a group.
pub fn detach_device_program(group: BorrowedFd<'_>, id: u32) -> Result<()> {
    let program = bpf(BPF_PROG_GET_FD_BY_ID, &mut ById { id, next_id: 0, open_flags: 0 }).and_then(own)?;
    attach(BPF_PROG_DETACH, group, program.as_fd(), 0)
}

fn attach(command: libc::c_int, group: BorrowedFd<'_>, program: BorrowedFd<'_>, flags: u32) -> Result<()> {
    let mut attributes = Attach { target: raw(group)?, program: raw(program)?, attach_type: BPF_CGROUP_DEVICE, flags };
    bpf(command, &mut attributes).map(drop)
}

/// The ids of the device programs attached to a group itself; ENOSPC if there are more than `most`.
pub fn device_programs(group: BorrowedFd<'_>, most: usize) -> Result<Vec<u32>> {
    let mut ids = vec![0_u32; most];
    let mut attributes = Query {
        target: raw(group)?,
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr().expose_provenance() as u64,
        count: u32::try_from(most).map_err(|_| Errno::INVAL)?,
        padding: 0,
    };
    bpf(BPF_PROG_QUERY, &mut attributes)?;
    ids.truncate(attributes.count as usize);
    Ok(ids)
}

/// Installs a filter for the calling thread and what it starts. Needs no_new_privs or CAP_SYS_ADMIN.
///
/// `filter` holds one `struct sock_filter` in each number; `flags` are SECCOMP_FILTER_FLAG_*. Fit for a child between
/// clone and exec: it does not allocate.
pub fn install_seccomp_filter(filter: &[u64], flags: u32) -> Result<()> {
    let length = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: seccomp(2) reads `len` entries of 8 bytes each, which is what `filter` holds, and keeps no pointer to them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) })
        .map(drop)
}
