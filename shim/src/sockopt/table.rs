//! The table of options: what dispatches a call also writes the manual's section and the C test's rows.

use super::value::{Answer, Value};
use super::{Call, ip, own, pgm, plain};
use crate::errno::Errno;
use crate::socket::Kind;
use libc::c_int;

pub(super) type Setter = fn(&mut Call, Value<'_>) -> Result<(), Errno>;
pub(super) type Getter = fn(&mut Call) -> Result<Answer, Errno>;

/// An option that is answered here.
#[derive(Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "some columns are for the manual and the C test")
)]
pub(super) struct Row {
    pub(super) level: c_int,
    pub(super) name: c_int,
    /// Its name in C.
    pub(super) symbol: &'static str,
    /// What the value is.
    pub(super) value: Type,
    pub(super) set: Option<Setter>,
    pub(super) get: Option<Getter>,
    /// When it may be set or, if it cannot be set, when it may be read.
    pub(super) phases: Phases,
    /// What `getsockopt` says of a new socket: numbers, or words for the manual.
    pub(super) default: &'static str,
    /// The variable, or variables, that change the default.
    pub(super) variable: &'static str,
    /// Sentences for users.
    pub(super) help: &'static str,
}

impl Row {
    /// Nothing: what a row does not say.
    pub(super) const BLANK: Self = Self {
        level: 0,
        name: 0,
        symbol: "",
        value: Type::Nothing,
        set: None,
        get: None,
        phases: Phases::Any,
        default: "",
        variable: "",
        help: "",
    };
}

/// What the value of an option is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// No value is taken.
    Nothing,
    /// `uint32_t` within bounds.
    Number { least: u32, most: u32 },
    /// `uint32_t`, 0 or not.
    Boolean,
    /// IPv4 address in network order, as `struct in_addr` or `uint32_t`.
    Address,
    /// A structure of `<linux/pgm.h>` and its octets.
    Structure(&'static str, usize),
    /// `int`.
    Int,
    /// `int` or `unsigned char`.
    Octet,
    /// Something else, in C's words.
    Other(&'static str),
}

impl Type {
    /// Refuse what no setter needs to look at.
    pub(super) fn check(self, value: Value<'_>) -> Result<(), Errno> {
        match self {
            Self::Number { least, most } if !(least..=most).contains(&value.word()?) => {
                Err(Errno(libc::EINVAL))
            }
            Self::Boolean => value.word().map(drop),
            _ => Ok(()),
        }
    }
}

/// When an option may be set, or read if it cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phases {
    /// At any time, on any side.
    Any,
    /// On either side, before `connect` or `listen`.
    Unconnected,
    /// On a sender, at any time.
    Sending,
    /// On a sender, before `connect`.
    Sender,
    /// On a receiver, before `listen`.
    Receiver,
    /// The same; and on sessions, where it does nothing and programs do it too.
    ReceiverOrSession,
    /// On a connected sender.
    Connected,
    /// On a session.
    Accepted,
    /// On either of them.
    Running,
    /// On these and on a listener: what the engine serves.
    Served,
}

impl Phases {
    pub(super) fn check(self, kind: Kind) -> Result<(), Errno> {
        use Kind::{Bound, Fresh, Listening, Sender, Session};
        let error = match (self, kind) {
            (Self::Any, _)
            | (Self::Connected | Self::Running | Self::Sending, Sender)
            | (Self::Accepted | Self::Running | Self::ReceiverOrSession, Session)
            | (Self::Served, Listening | Sender | Session) => return Ok(()),
            (Self::Connected | Self::Accepted | Self::Running | Self::Served, Fresh | Bound)
            | (Self::Running, Listening) => libc::ENOTCONN,
            (_, Fresh | Bound) => return Ok(()),
            (Self::Unconnected, _)
            | (Self::Sender, Sender)
            | (Self::Receiver, Listening | Session)
            | (Self::ReceiverOrSession, Listening) => libc::EISCONN,
            (Self::Sender | Self::Sending | Self::Connected, Listening | Session)
            | (Self::Receiver | Self::ReceiverOrSession | Self::Accepted, Sender)
            | (Self::Accepted, Listening) => libc::EINVAL,
        };
        Err(Errno(error))
    }
}

pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    [pgm::ROWS, own::ROWS, plain::ROWS, ip::ROWS]
        .into_iter()
        .flatten()
}

pub(super) fn find(level: c_int, name: c_int) -> Option<&'static Row> {
    rows().find(|row| row.level == level && row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_refused_in_the_wrong_phase() {
        let errno = |phases: Phases, kind| phases.check(kind).err().map(|error| error.0);
        assert_eq!(errno(Phases::Sender, Kind::Bound), None);
        assert_eq!(errno(Phases::Sender, Kind::Sender), Some(libc::EISCONN));
        assert_eq!(errno(Phases::Sender, Kind::Session), Some(libc::EINVAL));
        assert_eq!(errno(Phases::ReceiverOrSession, Kind::Session), None);
        assert_eq!(errno(Phases::Receiver, Kind::Session), Some(libc::EISCONN));
        assert_eq!(errno(Phases::Receiver, Kind::Sender), Some(libc::EINVAL));
        assert_eq!(errno(Phases::Accepted, Kind::Fresh), Some(libc::ENOTCONN));
        assert_eq!(errno(Phases::Any, Kind::Sender), None);
    }

    #[test]
    fn no_option_is_listed_twice_and_each_has_a_name() {
        let mut names: Vec<_> = rows().map(|row| (row.level, row.name)).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(rows().all(|row| !row.symbol.is_empty()));
    }
}
