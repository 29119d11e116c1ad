//! TSIs whose sessions are over: for a while late packets of them raise no new ones.

use super::{PeerKey, Place, Sessions};
use std::time::{Duration, Instant};

/// How long a TSI that ended is not taken for a new session, counted from the last that is heard of its end:
/// sources may announce it for longer, while others are repaired.
const GRAVE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Grave {
    /// Its entry in `graves`.
    pub(super) until: Instant,
    serial: u64,
    /// The owner closed a session that goes on: closed it stays for as long as the source is heard.
    unfinished: bool,
}

impl Sessions {
    /// No new session for this TSI for a while.
    pub(super) fn bury(&mut self, now: Instant, key: PeerKey, unfinished: bool) {
        if !self
            .listeners
            .get(&key.0)
            .is_some_and(|listener| listener.open)
        {
            return;
        }
        while let Some((&(until, serial), _)) = self.graves.first_key_value()
            && (until <= now || self.graves.len() >= self.max_peers)
        {
            self.graves
                .remove(&(until, serial))
                .map(|key| self.peers.remove(&key));
        }
        self.last_grave += 1;
        let grave = Grave {
            until: now + GRAVE,
            serial: self.last_grave,
            unfinished,
        };
        self.graves.insert((grave.until, grave.serial), key);
        self.peers.insert(key, Place::Grave(grave));
    }

    /// A packet for a session that is over here. `is_end`: it says that it is over for all.
    pub(super) fn visit_grave(&mut self, now: Instant, key: PeerKey, is_end: bool) {
        let Some(Place::Grave(grave)) = self.peers.get_mut(&key) else {
            return;
        };
        // Moved on at half time: not with every packet of a session that goes on without us.
        if (grave.unfinished || is_end) && grave.until - now < GRAVE / 2 {
            self.graves.remove(&(grave.until, grave.serial));
            grave.until = now + GRAVE;
            self.graves.insert((grave.until, grave.serial), key);
        }
    }

    /// Remove an expired grave before its key is used again.
    pub(super) fn dig_up(&mut self, key: PeerKey) {
        if let Some(Place::Grave(grave)) = self.peers.remove(&key) {
            self.graves.remove(&(grave.until, grave.serial));
        }
    }
}
