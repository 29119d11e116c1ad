//! Names of descriptors and relays across all links.

use crate::driver::carrier::PortId;
use crate::endpoint::{ListenerId, SessionId, SourceId};

/// Serial numbers of links are at most this, and never 0.
pub(in crate::driver) const MAX_SERIAL: u32 = (1 << 30) - 1;

/// A relay of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::driver) enum Key {
    Sender(SourceId),
    Listener(ListenerId),
    Session(SessionId),
}

/// What an epoll event is about, as the 64 bits that epoll keeps; also the number of a [`Handle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum Token {
    /// The eventfd.
    Wake,
    /// A descriptor of a link's carrier.
    Port(u32, PortId),
    /// A relay of a link.
    Relay(u32, Key),
}

impl Token {
    /// Two bits of kind, thirty of the link's serial number (never 0), 32 of the kind's number.
    pub(in crate::driver) fn pack(self) -> u64 {
        let (kind, serial, id) = match self {
            Self::Wake => (0, 0, 0),
            Self::Port(serial, port) => (0, serial, port.0),
            Self::Relay(serial, Key::Sender(id)) => (1, serial, id.0),
            Self::Relay(serial, Key::Listener(id)) => (2, serial, id.0),
            Self::Relay(serial, Key::Session(id)) => (3, serial, id.0),
        };
        kind << 62 | u64::from(serial & MAX_SERIAL) << 32 | u64::from(id)
    }

    pub(in crate::driver) fn unpack(bits: u64) -> Self {
        // Both halves fit by their masks.
        let (serial, id) = ((bits >> 32) as u32 & MAX_SERIAL, bits as u32);
        match bits >> 62 {
            0 if serial == 0 => Self::Wake,
            0 => Self::Port(serial, PortId(id)),
            1 => Self::Relay(serial, Key::Sender(SourceId(id))),
            2 => Self::Relay(serial, Key::Listener(ListenerId(id))),
            _ => Self::Relay(serial, Key::Session(SessionId(id))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn tokens_survive_packing() {
        let serial = MAX_SERIAL;
        for token in [
            Token::Wake,
            Token::Port(1, PortId(0)),
            Token::Port(serial, PortId(u32::MAX)),
            Token::Relay(1, Key::Sender(SourceId(1))),
            Token::Relay(serial, Key::Listener(ListenerId(u32::MAX))),
            Token::Relay(7, Key::Session(SessionId(u32::MAX))),
        ] {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
