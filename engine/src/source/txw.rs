//! Transmit window: what can be repaired, by SQN (RFC 3208 §3.3, §16).
//!
//! Departs from RFC 3208 §16 (S-22, S-23, S-25): the window advances neither with time nor with data alone. Data
//! leaves only when it is older than `window_ivl` *and* its room is needed, so a receiver has at least the time
//! the option promises and usually more. As in §16.2, NAKs hold the trailing edge: it does not pass an SQN whose
//! repair is queued, nor one that was repaired a moment ago, within a bound, so that no receiver can stop the
//! source.
//!
//! With FEC it moves by whole transmission groups, since parity needs all packets of its group.

use super::SourceConfig;
use super::group::{Group, tg_sqn};
use super::repair::Repair;
use crate::num::Sqn;
use crate::stats::SourceStats;
use crate::wire::{Fragment, Options};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most SQNs held, whatever their size: bounds memory when TSDUs are tiny. Far below the 2³¹ - 1 of
/// RFC 3208 §3.3 (G-21).
const MAX_SQNS: usize = 1 << 22;

/// Repairs hold data in the window for at most this long beyond `window_ivl`.
const HOLD_MAX: Duration = Duration::from_millis(500);

/// During a step of the trailing edge each new packet releases this many old ones, so that a step of
/// a hundred thousand small packets is no pause.
const RELEASE: usize = 16;

/// Where memory keeps a window smaller than it should be, data that is older than this leaves when its room is needed.
const LEAN_IVL: Duration = Duration::from_secs(1);

/// A ring so much larger than what it holds gives memory back.
const SPARSE: usize = 4;

/// What an SQN that a short group leaves out takes of the window: about the memory that the ring spends on it.
const UNUSED_SIZE: u32 = 64;

/// One packet that was sent and can be sent again, or with no octets an SQN that a short transmission group
/// leaves out (RFC 3208 §11.2); no data packet is empty.
#[derive(Debug)]
pub(super) struct Entry {
    /// A slice of the APDU.
    pub(super) tsdu: Bytes,
    pub(super) fragment: Option<Fragment>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    /// Octets of the TPDU.
    pub(super) size: u32,
    /// First sending.
    pub(super) sent: Instant,
    /// Present once a NAK asked for it.
    pub(super) repair: Option<Box<Repair>>,
}

impl Entry {
    /// Options of the ODATA and of every RDATA (RFC 3208 §9.2, §9.6, §9.7 (O-09, O-16, S-19, S-27)).
    pub(super) fn options(&self) -> Options {
        Options {
            fragment: self.fragment,
            syn: self.syn,
            fin: self.fin,
            ..Options::default()
        }
    }
}

/// Where an SQN lies.
#[derive(Debug)]
pub(super) enum Place<'a, T> {
    Behind,
    Inside(&'a mut T),
    Ahead,
}

impl<'a, T> Place<'a, T> {
    /// What a NAK asks for, if it is there; counted if not.
    pub(super) fn asked_for(self, stats: &mut SourceStats) -> Option<&'a mut T> {
        match self {
            Place::Inside(it) => return Some(it),
            Place::Behind => stats.naks_too_late += 1,
            Place::Ahead => stats.naks_ignored += 1,
        }
        None
    }
}

/// The window: a ring indexed by distance from the trailing edge.
#[derive(Debug)]
pub(super) struct TxWindow {
    entries: VecDeque<Entry>,
    trail: Sqn,
    bytes: u64,
    limit: u64,
    /// [`MAX_SQNS`].
    max_sqns: usize,
    /// Octets below which a step of the trailing edge ends.
    low: u64,
    ivl: Duration,
    /// Memory it may take, octets.
    memory: usize,
    /// What it needs in any case: with FEC, two groups.
    least: usize,
    /// In the middle of a step.
    advancing: bool,
    /// Newest SQN that is a packet's.
    last: Sqn,
    /// k, with FEC.
    tgs: Option<u8>,
    /// The groups of `entries`, whose first is a group's first.
    groups: VecDeque<Group>,
}

impl TxWindow {
    pub(super) fn new(config: &SourceConfig) -> Self {
        let step = config.window_bytes * u64::from(config.window_adv_percent) / 100;
        let tgs = config.fec.map(|fec| fec.k);
        // The group that is being filled, and one that cannot go before its last packet can.
        let groups = 2 * u64::from(tgs.unwrap_or(0)) * config.max_tpdu as u64;
        Self {
            entries: VecDeque::new(),
            trail: config.first_sqn,
            bytes: 0,
            limit: config.window_bytes + groups,
            max_sqns: MAX_SQNS,
            low: config.window_bytes - step,
            ivl: config.window_ivl,
            memory: usize::MAX,
            least: groups as usize * 2,
            advancing: false,
            last: config.first_sqn.minus(1),
            tgs,
            groups: VecDeque::new(),
        }
    }

    /// Oldest SQN that can be repaired.
    pub(super) fn trail(&self) -> Sqn {
        self.trail
    }

    /// Newest SQN sent; `trail - 1` when nothing is held.
    pub(super) fn lead(&self) -> Sqn {
        if self.trail.is_newer_than(self.last) {
            self.trail.minus(1)
        } else {
            self.last
        }
    }

    /// The SQN the next packet gets (RFC 3208 §5.1.1 (S-01)); after a short group, that of the next boundary
    /// (RFC 3208 §11.2 (F-17)).
    pub(super) fn next(&self) -> Sqn {
        let next = self.trail.plus(self.len());
        match self.tgs {
            Some(k) if !self.has_open_group() => tg_sqn(next.plus(u32::from(k) - 1), k),
            _ => next,
        }
    }

    pub(super) fn len(&self) -> u32 {
        // MAX_SQNS bounds it.
        self.entries.len() as u32
    }

    /// Octets of the limit not used.
    pub(super) fn free(&self) -> u64 {
        self.limit.saturating_sub(self.bytes)
    }

    pub(super) fn get(&self, sqn: Sqn) -> Option<&Entry> {
        usize::try_from(sqn.since(self.trail))
            .ok()
            .and_then(|at| self.entries.get(at))
    }

    pub(super) fn place(&mut self, sqn: Sqn) -> Place<'_, Entry> {
        place(sqn.since(self.trail), |at| self.entries.get_mut(at))
    }

    /// Where the group lies that begins with `tg`.
    pub(super) fn group(&mut self, tg: Sqn) -> Place<'_, Group> {
        let k = usize::from(self.tgs.unwrap_or(1));
        place(tg.since(self.trail), |at| self.groups.get_mut(at / k))
    }

    /// The data packets so far of the group that begins with `tg`.
    pub(super) fn group_data(&self, tg: Sqn) -> impl Iterator<Item = &Entry> {
        let at = usize::try_from(tg.since(self.trail)).unwrap_or(usize::MAX);
        let group = self.entries.iter().skip(at);
        let group = group.take(self.tgs.unwrap_or(0).into());
        group.take_while(|entry| !entry.tsdu.is_empty())
    }

    /// Whether the newest packet's group may get more.
    pub(super) fn has_open_group(&self) -> bool {
        let newest = self.groups.back();
        newest.is_some_and(|group| group.size().is_none())
    }

    /// The open group gets no more packets, but `proactive` parity packets; which group that was.
    pub(super) fn close_group(&mut self, proactive: u8) -> Option<Sqn> {
        let (k, tg) = (self.tgs?, tg_sqn(self.last, self.tgs?));
        let group = self
            .groups
            .back_mut()
            .filter(|group| group.size().is_none())?;
        // At most k packets.
        group.close((self.last.since(tg) + 1) as u8, proactive, k);
        Some(tg)
    }

    /// Packets of the short group that ends with `sqn` or before it, for OPT_CURR_TGSIZE: fewer than advertised
    /// (RFC 3208 §11.8.3 (O-20)).
    pub(super) fn short_group_of(&self, sqn: Sqn) -> Option<u32> {
        let k = self.tgs?;
        let (tg, trail) = (tg_sqn(sqn, k), self.trail);
        let at = usize::try_from(tg.since(trail)).ok()? / usize::from(k);
        let size = self.groups.get(at)?.size()?;
        (size < k && sqn.since(tg) + 1 >= size.into()).then_some(size.into())
    }

    /// Memory it may take from now on, octets. What is there stays until it may go, and one packet always fits.
    pub(super) fn set_memory(&mut self, octets: usize) {
        self.memory = octets.max(self.least);
    }

    /// Whether memory bounds it, not its own limit.
    fn is_lean(&self) -> bool {
        (self.memory as u64) < self.limit
    }

    /// Memory it takes: TPDUs (a little more than their TSDUs), and the ring with its repairs.
    pub(super) fn octets(&self) -> usize {
        self.octets_with(0, self.entries.capacity())
    }

    fn octets_with(&self, size: usize, slots: usize) -> usize {
        let ring = slots * size_of::<Entry>() + self.entries.len() * size_of::<Repair>();
        self.bytes as usize + size + ring
    }

    /// Whether a TPDU of `size` octets fits without releasing anything.
    pub(super) fn has_room(&self, size: usize) -> bool {
        let (len, slots) = (self.entries.len(), self.entries.capacity());
        let slots = if len < slots { slots } else { 2 * slots };
        self.bytes + size as u64 <= self.limit
            && len < self.max_sqns
            && (len == 0 || self.octets_with(size, slots) <= self.memory)
    }

    /// When the oldest packet may go; `None` while its repair is queued, or when nothing is held.
    pub(super) fn release_at(&self) -> Option<Instant> {
        let Some(k) = self.tgs else {
            return self.release_one_at(self.entries.front()?);
        };
        let group = self.groups.front()?;
        if group.size().is_none() || group.is_waiting() {
            return None;
        }
        let mut at = self.entries.front()?.sent;
        for entry in self.entries.iter().take(k.into()) {
            at = at.max(self.release_one_at(entry)?);
        }
        let hold = group.hold().unwrap_or(at);
        Some(hold.clamp(at, at + HOLD_MAX))
    }

    fn release_one_at(&self, entry: &Entry) -> Option<Instant> {
        let ivl = if self.is_lean() {
            self.ivl.min(LEAN_IVL)
        } else {
            self.ivl
        };
        let at = entry.sent + ivl;
        match &entry.repair {
            None => Some(at),
            Some(repair) if repair.is_queued() => None,
            Some(repair) => Some(repair.hold().clamp(at, at + HOLD_MAX)),
        }
    }

    /// Release what may go until `size` octets fit; whether they do. If not, data waits (RFC 3208 §5.1.1, §16.2
    /// (S-02, S-24)).
    pub(super) fn make_room(&mut self, now: Instant, size: usize) -> bool {
        self.advancing |= !self.has_room(size);
        let mut released = 0;
        while self.advancing && (released < RELEASE || !self.has_room(size)) {
            let may_go = self.release_at().is_some_and(|at| at <= now);
            self.advancing = may_go && (self.bytes > self.low || !self.has_room(size));
            if self.advancing {
                released += self.release();
            }
        }
        self.has_room(size)
    }

    /// Release the oldest packet, or the oldest group; how many packets.
    fn release(&mut self) -> usize {
        let count = usize::from(self.tgs.unwrap_or(1));
        self.groups.pop_front();
        for _ in 0..count {
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= u64::from(entry.size);
            }
        }
        self.trail = self.trail.plus(count as u32);
        if self.entries.len() < self.entries.capacity() / SPARSE {
            self.entries.shrink_to(self.entries.capacity() / 2);
        }
        count
    }

    /// Add the newest packet. The caller made room.
    pub(super) fn push(&mut self, entry: Entry) {
        let sqn = self.next();
        if self.tgs.is_some() && !self.has_open_group() {
            self.leave_out(sqn, entry.sent);
            self.groups.push_back(Group::default());
        }
        self.last = sqn;
        self.bytes += u64::from(entry.size);
        self.entries.push_back(entry);
    }

    /// The SQNs before `next` that are not there belong to no packet.
    fn leave_out(&mut self, next: Sqn, sent: Instant) {
        while self.trail.plus(self.len()) != next {
            self.bytes += u64::from(UNUSED_SIZE);
            self.entries.push_back(Entry {
                tsdu: Bytes::new(),
                fragment: None,
                syn: false,
                fin: false,
                size: UNUSED_SIZE,
                sent,
                repair: None,
            });
        }
    }
}

/// What is `distance` from the trailing edge.
fn place<'a, T>(distance: i32, get: impl FnOnce(usize) -> Option<&'a mut T>) -> Place<'a, T> {
    match usize::try_from(distance) {
        Ok(at) => get(at).map_or(Place::Ahead, Place::Inside),
        // Unordered (RFC 3208 §3.3): never an old SQN.
        Err(_) if distance == i32::MIN => Place::Ahead,
        Err(_) => Place::Behind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Tsi;
    use std::net::Ipv4Addr;

    const MS: Duration = Duration::from_millis(1);

    fn window(bytes: u64, ivl: Duration, adv: u8) -> TxWindow {
        let any = Ipv4Addr::LOCALHOST;
        TxWindow::new(&SourceConfig {
            first_sqn: Sqn(u32::MAX - 1),
            window_bytes: bytes,
            window_ivl: ivl,
            window_adv_percent: adv,
            ..SourceConfig::new(Tsi::default(), 1, any, any)
        })
    }

    fn entry(size: u32, sent: Instant) -> Entry {
        let tsdu = Bytes::from_static(b"x");
        Entry {
            tsdu,
            fragment: None,
            syn: false,
            fin: false,
            size,
            sent,
            repair: None,
        }
    }

    #[test] // S-13, S-26, G-20
    fn edges_cross_the_wrap() {
        let t = Instant::now();
        let mut w = window(10_000, MS, 0);
        assert_eq!(w.lead(), w.trail().minus(1), "empty");
        for _ in 0..4 {
            w.push(entry(100, t));
        }
        assert_eq!(
            (w.trail(), w.lead(), w.next()),
            (Sqn(u32::MAX - 1), Sqn(1), Sqn(2))
        );
        assert!(w.get(Sqn(0)).is_some() && w.get(Sqn(2)).is_none());
        assert!(matches!(w.place(Sqn(u32::MAX - 2)), Place::Behind));
        assert!(matches!(w.place(Sqn(1)), Place::Inside(_)));
        assert!(matches!(w.place(Sqn(2)), Place::Ahead));
        let opposite = w.trail().plus(1 << 31);
        assert!(
            matches!(w.place(opposite), Place::Ahead),
            "2^31 apart is unordered"
        );
    }

    #[test] // G-21: SQNs are a ceiling, too
    fn the_window_has_a_largest_length() {
        let t0 = Instant::now();
        let mut w = window(1 << 40, MS, 0);
        assert!(u32::try_from(w.max_sqns).is_ok_and(|max| max < 1 << 31));
        w.max_sqns = 3;
        for _ in 0..3 {
            assert!(w.make_room(t0, 25));
            w.push(entry(25, t0));
        }
        assert!(!w.has_room(25) && !w.make_room(t0, 25), "full");
        assert!(w.make_room(t0 + MS, 25), "old enough");
        assert_eq!((w.trail(), w.len()), (Sqn(u32::MAX), 2));
    }

    #[test] // S-22: time is a floor, octets are the ceiling
    fn data_leaves_only_when_old_and_in_the_way() {
        let t = Instant::now();
        let mut w = window(1_000, 10 * MS, 0);
        for i in 0..10 {
            assert!(w.make_room(t + i * MS, 100), "room");
            w.push(entry(100, t + i * MS));
        }
        assert!(!w.make_room(t + 9 * MS, 100), "full of young data");
        assert_eq!(w.release_at(), Some(t + 10 * MS));
        assert!(w.make_room(t + 10 * MS, 100));
        assert_eq!(w.len(), 9);
        assert!(w.make_room(t + 1_000 * MS, 100));
        assert_eq!(w.len(), 9, "old data stays while there is room");
    }

    #[test] // S-22: the trailing edge moves in steps of window_adv_percent
    fn a_step_frees_the_configured_share() {
        let t = Instant::now();
        let mut w = window(10_000, MS, 30);
        for _ in 0..100 {
            w.push(entry(100, t));
        }
        let lens: [u32; 31] = std::array::from_fn(|_| {
            assert!(w.make_room(t + MS, 100));
            w.push(entry(100, t + MS));
            w.len()
        });
        assert_eq!(
            lens[..3],
            [100 - 16 + 1, 71, 72],
            "a step is spread over packets, down to 70 %"
        );
        assert_eq!(
            lens[30], 100,
            "and then the edge rests until the window is full"
        );
    }

    /// A full window of ten packets, the third of which is under repair.
    fn under_repair(t: Instant, repair: Repair) -> TxWindow {
        let mut w = window(1_000, MS, 50);
        for _ in 0..10 {
            w.push(entry(100, t));
        }
        if let Place::Inside(entry) = w.place(w.trail().plus(2)) {
            entry.repair = Some(Box::new(repair));
        }
        w
    }

    #[test] // S-23: a queued repair holds the trailing edge
    fn a_queued_repair_holds_the_edge() {
        let t = Instant::now();
        let mut w = under_repair(t, Repair::example(true, t));
        let held = w.trail().plus(2);
        assert!(w.make_room(t + MS, 100));
        assert_eq!(w.trail(), held);
        assert!(!w.make_room(t + 10_000 * MS, 300));
        assert_eq!(w.release_at(), None);
    }

    #[test] // S-23: so does a recent one, for a bounded time
    fn a_recent_repair_holds_the_edge_for_a_while() {
        let t = Instant::now();
        for (hold, until) in [(0, 1), (70, 70), (5_000, 501)] {
            let mut w = under_repair(t, Repair::example(false, t + hold * MS));
            let until = t + until * MS;
            assert!(w.make_room(t + MS, 200));
            assert_eq!(w.release_at(), Some(until));
            assert!(until == t + MS || !w.make_room(until - MS, 300));
            assert!(w.make_room(until, 300));
        }
    }
}
