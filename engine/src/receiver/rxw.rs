//! Receive window: a ring of slots indexed by SQN (RFC 3208 §6.1). Knows neither time nor the network.

use super::gap::Gap;
use crate::num::Sqn;
use crate::wire::Fragment;
use bytes::Bytes;

/// Slots of a new window; it doubles as packets need it.
const FIRST_SLOTS: usize = 64;

/// A data packet that waits for its turn. No larger than a gap: windows have a slot of that size for each.
#[derive(Clone, Debug, Default)]
pub(super) struct Packet {
    pub(super) payload: Bytes,
    fragment: Fragment,
    has_fragment: bool,
    pub(super) marks: Marks,
}

impl Packet {
    /// `fragment`: `None` for an APDU of one TPDU.
    pub(super) fn new(payload: Bytes, fragment: Option<Fragment>, marks: Marks) -> Self {
        Self {
            payload,
            fragment: fragment.unwrap_or_default(),
            has_fragment: fragment.is_some(),
            marks,
        }
    }

    /// `None` for an APDU of one TPDU.
    pub(super) fn fragment(&self) -> Option<Fragment> {
        self.has_fragment.then_some(self.fragment)
    }
}

/// Options that mean nothing to the window, but take part in FEC (RFC 3208 §11.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) syn: bool,
    pub(super) fin: bool,
    /// OPT_FRAGMENT for an APDU of one TPDU.
    pub(super) lone_fragment: bool,
}

#[derive(Debug, Default)]
enum Slot {
    /// Not here and not asked for.
    #[default]
    Empty,
    /// Not here, under recovery.
    Missing(Gap),
    Held(Packet),
    /// Given up, and the stream goes on without it.
    Lost,
    /// Read before its turn.
    Done,
    /// Beyond the end of a short transmission group: there is no such packet.
    Unused,
}

const _: () = assert!(size_of::<Slot>() == size_of::<Gap>());

/// What became of an offered packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Taken,
    Duplicate,
    /// Before all this window ever held.
    Foreign,
    /// No room for its SQN or its octets.
    Full,
}

/// The window: `base ≤ edge ≤ lead + 1`, in circular order.
///
/// What is before `edge` and neither held nor done is lost, and the stream goes on without it.
///
/// Every slot outside of `base .. base + slots.len()` counts as empty, so a lead far ahead costs nothing
/// (RFC 3208 §10 ).
#[derive(Debug)]
pub(super) struct Rxw {
    /// Power of two.
    slots: Vec<Slot>,
    /// Oldest SQN not consumed.
    base: Sqn,
    /// First SQN from `base` on that is still to come: one past the leading edge of contiguous data.
    edge: Sqn,
    /// Newest SQN known to exist (RXW_LEAD), held or not.
    lead: Sqn,
    /// The configured limit, and how much of it the memory allows.
    max_sqns: u32,
    limit_sqns: u32,
    limit_bytes: usize,
    held: u32,
    missing: u32,
    bytes: usize,
    /// Octets held elsewhere for the sake of packets in the window.
    beside: usize,
    /// Size of transmission groups, if packets that leave the window are still to take part in FEC.
    group_size: Option<u32>,
    /// Those that left since the last `drain_left`.
    left: Vec<(Sqn, Packet)>,
    /// Largest TSDU seen: what a missing packet may need.
    largest: usize,
    /// SQNs consumed, as far as SQNs can be told from older ones.
    consumed: u32,
}

impl Rxw {
    pub(super) fn new(limit_sqns: u32, limit_bytes: usize) -> Self {
        let limit_sqns = limit_sqns.clamp(1, 1 << 30);
        Self {
            slots: Vec::new(),
            base: Sqn(0),
            edge: Sqn(0),
            lead: Sqn(0).minus(1),
            max_sqns: limit_sqns,
            limit_sqns,
            limit_bytes,
            held: 0,
            missing: 0,
            bytes: 0,
            beside: 0,
            group_size: None,
            left: Vec::new(),
            largest: 0,
            consumed: 0,
        }
    }

    pub(super) fn base(&self) -> Sqn {
        self.base
    }

    pub(super) fn edge(&self) -> Sqn {
        self.edge
    }

    pub(super) fn lead(&self) -> Sqn {
        self.lead
    }

    /// First SQN beyond what the window may hold.
    pub(super) fn end(&self) -> Sqn {
        self.base.plus(self.limit_sqns)
    }

    /// Room for octets from now on. What is held beyond it stays, and the awaited packet always fits.
    pub(super) fn set_limit_bytes(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
    }

    /// Octets that count as held, although they are not in the window.
    pub(super) fn set_beside(&mut self, octets: usize) {
        self.beside = octets;
    }

    /// Keep what is consumed while its transmission group, of so many SQNs, is not whole (a power of two).
    pub(super) fn keep_groups(&mut self, size: Option<u32>) {
        self.group_size = size;
    }

    /// What was consumed of groups that were not whole.
    pub(super) fn drain_left(&mut self) -> impl Iterator<Item = (Sqn, Packet)> + use<'_> {
        self.left.drain(..)
    }

    /// Octets the slots may take from now on. What is there stays.
    pub(super) fn set_limit_slots(&mut self, octets: usize) {
        let slots = (octets / size_of::<Slot>()).max(FIRST_SLOTS);
        // `grow` makes a power of two of it.
        let slots = (1 << slots.ilog2()).max(self.slots.len());
        self.limit_sqns = u32::try_from(slots).unwrap_or(u32::MAX).min(self.max_sqns);
    }

    /// Slots, empty or not.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Octets they take.
    pub(super) fn slot_octets(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }

    /// Packets held.
    pub(super) fn held(&self) -> u32 {
        self.held
    }

    /// SQNs under recovery.
    pub(super) fn missing(&self) -> u32 {
        self.missing
    }

    /// Octets held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// SQNs from `base` to `lead`.
    pub(super) fn span(&self) -> u32 {
        self.lead.next().since(self.base).max(0).cast_unsigned()
    }

    /// Begin an empty window at `start`.
    pub(super) fn anchor(&mut self, start: Sqn) {
        debug_assert!(self.held == 0 && self.missing == 0);
        (self.base, self.edge, self.lead) = (start, start, start.minus(1));
    }

    /// Before anything is consumed: let the window begin at `start` instead, older or newer than now.
    pub(super) fn restart_at(&mut self, start: Sqn) {
        let back = self.base.since(start);
        if back > 0 {
            let reach = back.unsigned_abs();
            // The newest packets give way if the window would grow too long.
            self.truncate(start.plus(self.limit_sqns));
            let newest = self.slots.len().min(self.span() as usize) as u32;
            self.grow(reach.saturating_add(newest).min(self.limit_sqns));
            (self.base, self.edge) = (start, start);
        } else {
            for sqn in self.stored_from(self.base, start) {
                self.vacate(sqn);
            }
            self.base = start;
            if self.edge.since(start) < 0 {
                self.edge = start;
            }
        }
        if self.lead.since(start.minus(1)) < 0 {
            self.lead = start.minus(1);
        }
        self.advance_edge();
    }

    /// `sqn` exists. `false` if that is too far ahead to be told from the past.
    pub(super) fn extend_lead(&mut self, sqn: Sqn) -> bool {
        if !sqn.is_newer_than(self.lead) {
            return true;
        }
        // One less than half the space, so that `lead + 1` still compares with `base`.
        let plausible = (0..i32::MAX).contains(&sqn.since(self.base));
        if plausible {
            self.lead = sqn;
        }
        plausible
    }

    /// Offer one data packet (RFC 3208 §6.1 ), ODATA or RDATA, whatever was asked for (§6.3 ). The
    /// payload is built only if the packet is taken.
    pub(super) fn offer(&mut self, sqn: Sqn, len: usize, packet: impl FnOnce() -> Packet) -> Offer {
        let offset = sqn.since(self.base);
        if offset < 0 {
            let behind = offset.unsigned_abs();
            return if behind <= self.consumed {
                Offer::Duplicate
            } else {
                Offer::Foreign
            };
        }
        let offset = offset.unsigned_abs();
        let was_missing = match self.slot(sqn) {
            Slot::Held(_) | Slot::Done => return Offer::Duplicate,
            Slot::Missing(_) => true,
            Slot::Empty | Slot::Lost | Slot::Unused => false,
        };
        self.largest = self.largest.max(len);
        let reserved = if was_missing { 0 } else { self.reserved() };
        // What the reader waits for is always taken: only it lets the window move.
        let awaited = sqn == self.base && sqn == self.edge;
        if offset >= self.limit_sqns
            || (!awaited && self.octets() + reserved + len > self.limit_bytes)
        {
            return Offer::Full;
        }
        self.grow(offset + 1);
        let index = self.index(sqn);
        self.slots[index] = Slot::Held(packet());
        self.missing -= u32::from(was_missing);
        self.held += 1;
        self.bytes += len;
        if sqn == self.edge {
            self.edge = sqn.next();
            self.advance_edge();
        }
        Offer::Taken
    }

    /// The packet at `base`, if it is here: data is read in its order (RFC 3208 §6.1 ).
    pub(super) fn head(&self) -> Option<&Packet> {
        if self.base == self.edge {
            return None;
        }
        match self.slot(self.base) {
            Slot::Held(packet) => Some(packet),
            _ => None,
        }
    }

    /// Consume the packet at `base`.
    pub(super) fn pop_head(&mut self) -> Option<Packet> {
        if self.base == self.edge {
            return None;
        }
        let index = self.index(self.base);
        let Slot::Held(packet) = std::mem::take(&mut self.slots[index]) else {
            return None;
        };
        self.held -= 1;
        self.bytes -= packet.payload.len();
        self.keep(self.base, &packet);
        self.consume(1);
        Some(packet)
    }

    /// Move past what was read before its turn, or never existed, at `base`.
    pub(super) fn skip_done(&mut self) {
        while self.base != self.edge && matches!(self.slot(self.base), Slot::Done | Slot::Unused) {
            self.vacate(self.base);
            self.consume(1);
        }
    }

    /// Whether `base` is lost.
    pub(super) fn is_head_lost(&self) -> bool {
        self.base != self.edge
            && !matches!(
                self.slot(self.base),
                Slot::Held(_) | Slot::Done | Slot::Unused
            )
    }

    /// Consume the lost SQNs from `base` on, if there are any: the first, and how many in a row.
    pub(super) fn pop_lost(&mut self) -> Option<(Sqn, u32)> {
        let (first, stored_end) = (self.base, self.stored_end());
        while self.base != stored_end && self.is_head_lost() {
            self.vacate(self.base);
            self.consume(1);
        }
        if self.base == stored_end {
            // All slots are empty now, so everything up to the edge is lost.
            self.consume(self.edge.since(self.base).max(0).cast_unsigned());
        }
        let count = self.base.since(first).cast_unsigned();
        (count > 0).then_some((first, count))
    }

    /// Give `sqn` up: the stream goes on without it.
    pub(super) fn lose(&mut self, sqn: Sqn) {
        if !self.is_stored(sqn) || !matches!(self.slot(sqn), Slot::Empty | Slot::Missing(_)) {
            return;
        }
        self.vacate(sqn);
        let index = self.index(sqn);
        self.slots[index] = Slot::Lost;
        self.advance_edge();
    }

    /// There is no packet `sqn`, which is inside the window's limits.
    pub(super) fn skip(&mut self, sqn: Sqn) {
        let offset = sqn.since(self.base);
        if offset < 0 || !matches!(self.slot(sqn), Slot::Empty | Slot::Missing(_) | Slot::Lost) {
            return;
        }
        // Without a slot of its own it would share that of an older SQN.
        self.grow(offset.unsigned_abs() + 1);
        self.vacate(sqn);
        let index = self.index(sqn);
        self.slots[index] = Slot::Unused;
        self.advance_edge();
    }

    /// Give up all before `to` that is not here. It is still taken should it come before its turn.
    pub(super) fn lose_before(&mut self, to: Sqn) {
        for sqn in self.stored_from(self.edge, to) {
            if matches!(self.slot(sqn), Slot::Missing(_)) {
                self.vacate(sqn);
            }
        }
        if to.is_newer_than(self.edge) {
            self.edge = to;
        }
        self.advance_edge();
    }

    /// The packet with `sqn`, wherever in the window.
    pub(super) fn packet(&self, sqn: Sqn) -> Option<&Packet> {
        match self.slot(sqn) {
            Slot::Held(packet) => Some(packet),
            _ => None,
        }
    }

    /// Take the packet with `sqn` before its turn.
    pub(super) fn take(&mut self, sqn: Sqn) -> Option<Packet> {
        self.packet(sqn)?;
        let index = self.index(sqn);
        let Slot::Held(packet) = std::mem::replace(&mut self.slots[index], Slot::Done) else {
            return None;
        };
        self.held -= 1;
        self.bytes -= packet.payload.len();
        self.keep(sqn, &packet);
        Some(packet)
    }

    pub(super) fn gap(&self, sqn: Sqn) -> Option<&Gap> {
        match self.slot(sqn) {
            Slot::Missing(gap) => Some(gap),
            _ => None,
        }
    }

    pub(super) fn gap_mut(&mut self, sqn: Sqn) -> Option<&mut Gap> {
        if !self.is_stored(sqn) {
            return None;
        }
        let index = self.index(sqn);
        match &mut self.slots[index] {
            Slot::Missing(gap) => Some(gap),
            _ => None,
        }
    }

    /// Whether `sqn` is neither held nor under recovery.
    pub(super) fn is_empty_at(&self, sqn: Sqn) -> bool {
        matches!(self.slot(sqn), Slot::Empty)
    }

    /// Whether a packet `sqn` was here, held still or not.
    pub(super) fn has_been(&self, sqn: Sqn) -> bool {
        matches!(self.slot(sqn), Slot::Held(_) | Slot::Done)
    }

    /// Whether `sqn` is still to come.
    pub(super) fn is_awaited(&self, sqn: Sqn) -> bool {
        sqn.since(self.edge) >= 0 && matches!(self.slot(sqn), Slot::Empty | Slot::Missing(_))
    }

    /// Whether a packet `sqn` would be taken, were there room: still to come, or given up before its turn.
    pub(super) fn is_wanted(&self, sqn: Sqn) -> bool {
        sqn.since(self.base) >= 0
            && matches!(self.slot(sqn), Slot::Empty | Slot::Missing(_) | Slot::Lost)
    }

    /// Whether there is room to ask for one more packet: its octets and those already asked for.
    pub(super) fn has_room_to_ask(&self, sqn: Sqn) -> bool {
        let awaited = sqn == self.base && sqn == self.edge;
        awaited || self.octets() + self.reserved() + self.largest <= self.limit_bytes
    }

    /// Whether so many packets fit the window at once.
    pub(super) fn fits(&self, packets: u32) -> bool {
        let octets = (packets as usize).saturating_mul(self.largest);
        packets <= self.limit_sqns && octets <= self.limit_bytes
    }

    /// Whether there is room for `octets` beside the window. `asked`: in place of a packet asked for.
    pub(super) fn has_room_beside(&self, octets: usize, asked: bool) -> bool {
        let reserved = if asked { 0 } else { self.reserved() };
        self.octets() + reserved + octets <= self.limit_bytes
    }

    /// Begin the recovery of an empty `sqn` inside the window's limits.
    pub(super) fn open_gap(&mut self, sqn: Sqn, gap: Gap) {
        debug_assert!(self.is_empty_at(sqn));
        let offset = sqn.since(self.base).max(0).cast_unsigned();
        self.grow(offset + 1);
        let index = self.index(sqn);
        self.slots[index] = Slot::Missing(gap);
        self.missing += 1;
    }

    /// Forget everything from `end` on.
    pub(super) fn truncate(&mut self, end: Sqn) {
        for sqn in self.stored_from(end, self.stored_end()) {
            self.vacate(sqn);
        }
        if self.edge.is_newer_than(end) {
            self.edge = end;
        }
    }

    /// SQNs in `from..to` that are still to come: how many in all, and how many in a row at the start.
    pub(super) fn count_lost(&self, from: Sqn, to: Sqn) -> (u32, u32) {
        let stored = self.stored_from(from, to);
        let beyond = to.since(from).max(0).cast_unsigned() - stored.len() as u32;
        let (mut all, mut row, mut in_row) = (0, 0, true);
        for sqn in stored {
            let missing = matches!(self.slot(sqn), Slot::Empty | Slot::Missing(_));
            in_row &= missing;
            all += u32::from(missing);
            row += u32::from(in_row);
        }
        (all + beyond, if in_row { row + beyond } else { row })
    }

    /// SQNs of `from..to` that have a slot, oldest first.
    pub(super) fn stored_from(
        &self,
        from: Sqn,
        to: Sqn,
    ) -> impl ExactSizeIterator<Item = Sqn> + use<> {
        let slots = self.slots.len() as i32;
        let base = self.base;
        let start = from.since(base).clamp(0, slots);
        let end = to.since(base).clamp(start, slots);
        (start..end).map(move |offset| base.plus(offset.cast_unsigned()))
    }

    fn octets(&self) -> usize {
        self.bytes + self.beside
    }

    /// `packet` with `sqn` leaves the window.
    fn keep(&mut self, sqn: Sqn, packet: &Packet) {
        let Some(size) = self.group_size else {
            return;
        };
        let end = Sqn(sqn.0 | (size - 1)).next();
        if end.is_newer_than(self.edge) {
            self.left.push((sqn, packet.clone()));
        }
    }

    fn stored_end(&self) -> Sqn {
        self.base.plus(self.slots.len() as u32)
    }

    /// Octets the packets under recovery may need.
    fn reserved(&self) -> usize {
        self.missing as usize * self.largest
    }

    fn is_stored(&self, sqn: Sqn) -> bool {
        (sqn.0.wrapping_sub(self.base.0) as usize) < self.slots.len()
    }

    fn index(&self, sqn: Sqn) -> usize {
        sqn.0 as usize & (self.slots.len() - 1)
    }

    fn slot(&self, sqn: Sqn) -> &Slot {
        if self.is_stored(sqn) {
            &self.slots[self.index(sqn)]
        } else {
            &Slot::Empty
        }
    }

    fn vacate(&mut self, sqn: Sqn) {
        let index = self.index(sqn);
        match std::mem::take(&mut self.slots[index]) {
            Slot::Empty | Slot::Lost | Slot::Done | Slot::Unused => {}
            Slot::Missing(_) => self.missing -= 1,
            Slot::Held(packet) => {
                self.held -= 1;
                self.bytes -= packet.payload.len();
            }
        }
    }

    fn advance_edge(&mut self) {
        while matches!(
            self.slot(self.edge),
            Slot::Held(_) | Slot::Lost | Slot::Done | Slot::Unused
        ) {
            self.edge = self.edge.next();
        }
    }

    fn consume(&mut self, sqns: u32) {
        self.base = self.base.plus(sqns);
        self.consumed = self.consumed.saturating_add(sqns).min(1 << 30);
    }

    /// Have at least `sqns` slots from `base` on.
    fn grow(&mut self, sqns: u32) {
        if sqns as usize <= self.slots.len() {
            return;
        }
        let len = (sqns as usize).next_power_of_two().max(FIRST_SLOTS);
        let mut slots = Vec::new();
        slots.resize_with(len, Slot::default);
        for sqn in self.stored_from(self.base, self.stored_end()) {
            let index = self.index(sqn);
            slots[sqn.0 as usize & (len - 1)] = std::mem::take(&mut self.slots[index]);
        }
        self.slots = slots;
    }
}

#[cfg(test)]
mod tests;
