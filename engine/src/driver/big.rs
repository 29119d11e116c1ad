//! Messages that travel on a pair as a file beside a token, because they are long or because there is
//! something to say about them.

/// A message longer than this does not travel through the pair itself (kernel limits): a memfd with its
/// octets travels as SCM_RIGHTS beside a [`BigMessage`]. Other messages are never accompanied by a
/// descriptor, so a descriptor is what tells the two apart.
///
/// The octets begin at offset 0 of the memfd, whatever its file position: use `pread` or `mmap`. The
/// engine maps a memfd that is sealed against shrinking and writing and copies from any other.
pub const PAIR_MESSAGE_MAX: usize = 128 << 10;

/// SQNs lost for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRun {
    /// The first.
    pub first: u32,
    /// How many; never 0.
    pub count: u32,
}

/// Accompanies a memfd on a pair, little-endian.
///
/// The kernel bounds what waits in a pair by the octets in it, not by those of files beside them. So who
/// sends many of them lets padding follow, in proportion to the message; who receives ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BigMessage {
    /// Octets in the file.
    pub len: u64,
    /// From the program: how long the message is that begins with these octets; what is sent next goes on
    /// with it. 0: the octets are a message. [`Self::MORE`]: with what is sent next, until something comes
    /// that does not say so.
    pub whole: u64,
    /// To the program: data that was lost for good before this message. Without octets in the file it is
    /// the end of the session that follows.
    pub lost: Option<LostRun>,
    /// From the program: who counts the memory of the file ([`super::Room::mark`]); 0: nobody.
    pub mark: u64,
}

impl BigMessage {
    /// "PGMbig\0\0".
    const MAGIC: u64 = 0x5047_4d62_6967_0000;
    /// See [`Self::whole`].
    pub const MORE: u64 = u64::MAX;
    /// See [`Self::whole`]: no message, but something that fills the pair. When it is read there is room again.
    pub const FILL: u64 = u64::MAX - 1;
    /// Octets of the token.
    pub const LEN: usize = 40;

    /// A message of so many octets, and nothing to say about it.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self {
            len: len as u64,
            whole: 0,
            lost: None,
            mark: 0,
        }
    }

    /// Something that fills the pair.
    #[must_use]
    pub fn fill() -> Self {
        Self {
            whole: Self::FILL,
            ..Self::new(0)
        }
    }

    /// The token.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let lost = self.lost.map_or([0, 0], |lost| [lost.first, lost.count]);
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&Self::MAGIC.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.whole.to_le_bytes());
        bytes[24..28].copy_from_slice(&lost[0].to_le_bytes());
        bytes[28..32].copy_from_slice(&lost[1].to_le_bytes());
        bytes[32..].copy_from_slice(&self.mark.to_le_bytes());
        bytes
    }

    /// What [`Self::to_bytes`] made, whatever follows it; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.first_chunk()?;
        let magic = u64::from_le_bytes(bytes[..8].try_into().ok()?);
        let lost = LostRun {
            first: u32::from_le_bytes(bytes[24..28].try_into().ok()?),
            count: u32::from_le_bytes(bytes[28..32].try_into().ok()?),
        };
        let message = Self {
            len: u64::from_le_bytes(bytes[8..16].try_into().ok()?),
            whole: u64::from_le_bytes(bytes[16..24].try_into().ok()?),
            lost: (lost.count > 0).then_some(lost),
            mark: u64::from_le_bytes(bytes[32..].try_into().ok()?),
        };
        (magic == Self::MAGIC).then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let plain = BigMessage::new(16 << 20);
        let part = BigMessage {
            whole: 32 << 20,
            mark: 1 << 63,
            ..plain
        };
        let lost = LostRun {
            first: 7,
            count: u32::MAX,
        };
        let after_loss = BigMessage {
            lost: Some(lost),
            ..plain
        };
        for token in [plain, part, after_loss] {
            assert_eq!(BigMessage::from_bytes(&token.to_bytes()), Some(token));
            let padded = [&token.to_bytes()[..], &[0; 100]].concat();
            assert_eq!(BigMessage::from_bytes(&padded), Some(token));
            assert_eq!(BigMessage::from_bytes(&padded[..39]), None);
        }
        assert_eq!(BigMessage::from_bytes(&[0; 40]), None);
    }
}
