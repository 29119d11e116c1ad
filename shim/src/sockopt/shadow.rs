//! Options of IPPROTO_IP that mean nothing to a PGM socket: a UDP socket of the kernel judges them, and
//! what it took is kept to be told again.

use crate::errno::{Errno, Native};
use crate::next;
use crate::sys;
use libc::{c_int, c_void, socklen_t};
use std::os::fd::AsRawFd;

/// No option of these is longer: IP_OPTIONS has 40 octets.
const LONGEST: usize = 256;

/// Values by option.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shadows(Vec<(c_int, Box<[u8]>)>);

impl Shadows {
    /// Keep what a UDP socket takes.
    pub(super) fn set(&mut self, name: c_int, value: &[u8]) -> Result<(), Errno> {
        if value.len() > LONGEST {
            return Err(Errno(libc::EINVAL));
        }
        let socket = sys::inet_socket(libc::SOCK_DGRAM, 0)?;
        apply(socket.as_raw_fd(), name, value)?;
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value.into()));
        Ok(())
    }

    /// What a UDP socket answers that was told the same.
    pub(super) fn get(&self, name: c_int, room: usize) -> Result<Vec<u8>, Errno> {
        let socket = sys::inet_socket(libc::SOCK_DGRAM, 0)?;
        if let Some((_, value)) = self.0.iter().find(|(known, _)| *known == name) {
            apply(socket.as_raw_fd(), name, value)?;
        }
        let mut answer = vec![0; room.min(LONGEST)];
        let mut len = answer.len() as socklen_t;
        let place = answer.as_mut_ptr().cast::<c_void>();
        // SAFETY: `answer` is writable for `len` octets.
        unsafe {
            next::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                name,
                place,
                &raw mut len,
            )
        }
        .check()?;
        answer.truncate(len as usize);
        Ok(answer)
    }
}

fn apply(fd: c_int, name: c_int, value: &[u8]) -> Result<(), Errno> {
    let (pointer, len) = (value.as_ptr().cast(), value.len() as socklen_t);
    // SAFETY: the slice is readable.
    unsafe { next::setsockopt(fd, libc::IPPROTO_IP, name, pointer, len) }
        .check()
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_udp_socket_judges_and_remembers() {
        let mut shadows = Shadows::default();
        let get = |shadows: &Shadows| shadows.get(libc::IP_TTL, 4);
        assert_eq!(get(&shadows), Ok(64_i32.to_ne_bytes().to_vec()));
        assert_eq!(shadows.set(libc::IP_TTL, &9_i32.to_ne_bytes()), Ok(()));
        assert_eq!(shadows.set(libc::IP_TTL, &[9]), Ok(()));
        let refused = shadows.set(libc::IP_TTL, &256_i32.to_ne_bytes());
        assert_eq!(refused, Err(Errno(libc::EINVAL)));
        assert_eq!(get(&shadows), Ok(9_i32.to_ne_bytes().to_vec()));
        assert_eq!(shadows.get(libc::IP_TTL, 1), Ok(vec![9]));
        assert_eq!(shadows.get(4711, 4), Err(Errno(libc::ENOPROTOOPT)));
    }
}
