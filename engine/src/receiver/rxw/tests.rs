use super::*;
use std::time::Instant;

const BASES: [u32; 4] = [0, 1 << 31, u32::MAX, (1 << 31) - 3];

fn window(base: u32, sqns: u32, bytes: usize) -> Rxw {
    let mut rxw = Rxw::new(sqns, bytes);
    rxw.anchor(Sqn(base));
    rxw
}

fn offer(rxw: &mut Rxw, sqn: Sqn, len: usize) -> Offer {
    rxw.extend_lead(sqn);
    rxw.offer(sqn, len, || {
        Packet::new(vec![0; len].into(), None, Marks::default())
    })
}

fn gap() -> Gap {
    Gap::new(Instant::now())
}

#[test]
fn packets_leave_in_order_wherever_the_window_is() {
    for base in BASES {
        let mut rxw = window(base, 1 << 12, 1 << 20);
        let at = |n: u32| Sqn(base).plus(n);
        for n in (0..1000).rev() {
            assert_eq!(rxw.edge(), at(0));
            assert_eq!(offer(&mut rxw, at(n), 1), Offer::Taken);
            assert_eq!(offer(&mut rxw, at(n), 1), Offer::Duplicate);
        }
        assert_eq!(
            (rxw.edge(), rxw.lead(), rxw.held()),
            (at(1000), at(999), 1000)
        );
        for n in 0..1000 {
            assert_eq!(rxw.base(), at(n));
            assert!(rxw.pop_head().is_some());
        }
        assert!(rxw.pop_head().is_none() && rxw.head().is_none());
        assert_eq!((rxw.bytes(), rxw.held(), rxw.span()), (0, 0, 0));
        assert_eq!(offer(&mut rxw, at(0), 1), Offer::Duplicate);
        assert_eq!(offer(&mut rxw, at(0).minus(1), 1), Offer::Foreign);
    }
}

#[test]
fn limits_hold_and_what_the_reader_waits_for_is_always_taken() {
    let mut rxw = window(10, 8, 100);
    assert_eq!(offer(&mut rxw, Sqn(18), 1), Offer::Full, "SQNs");
    assert_eq!(offer(&mut rxw, Sqn(17), 60), Offer::Taken);
    assert_eq!(offer(&mut rxw, Sqn(16), 60), Offer::Full, "octets");
    assert_eq!(offer(&mut rxw, Sqn(10), 60), Offer::Taken, "awaited");
    assert_eq!(
        offer(&mut rxw, Sqn(11), 60),
        Offer::Full,
        "the reader can make room"
    );
    assert_eq!(rxw.bytes(), 120);
}

#[test]
fn packets_asked_for_have_their_room_reserved() {
    let mut rxw = window(0, 64, 100);
    assert_eq!(offer(&mut rxw, Sqn(0), 20), Offer::Taken);
    assert_eq!(offer(&mut rxw, Sqn(2), 20), Offer::Taken);
    assert!(rxw.has_room_to_ask(Sqn(1)));
    rxw.open_gap(Sqn(1), gap());
    assert_eq!(offer(&mut rxw, Sqn(3), 20), Offer::Taken);
    assert!(rxw.has_room_to_ask(Sqn(4)));
    rxw.open_gap(Sqn(4), gap());
    assert!(!rxw.has_room_to_ask(Sqn(5)));
    assert_eq!(offer(&mut rxw, Sqn(5), 20), Offer::Full, "new data waits");
    assert_eq!(offer(&mut rxw, Sqn(1), 20), Offer::Taken);
    assert_eq!(offer(&mut rxw, Sqn(4), 20), Offer::Taken);
    assert_eq!((rxw.missing(), rxw.edge(), rxw.bytes()), (0, Sqn(5), 100));
}

#[test]
fn a_far_lead_costs_nothing() {
    for base in BASES {
        let mut rxw = window(base, 1 << 16, 1 << 20);
        let far = Sqn(base).plus(i32::MAX as u32 - 1);
        assert!(rxw.extend_lead(far));
        assert_eq!(rxw.slots.len(), 0);
        assert!(
            !rxw.extend_lead(far.plus(1)),
            "lead + 1 would not compare with base"
        );
        assert_eq!(offer(&mut rxw, far, 1), Offer::Full);
        assert_eq!(rxw.slots.len(), 0);
        assert_eq!(
            rxw.count_lost(Sqn(base), far),
            (i32::MAX as u32 - 1, i32::MAX as u32 - 1)
        );
    }
}

#[test]
fn truncation_forgets_what_is_behind_the_end() {
    let mut rxw = window(u32::MAX, 64, 1000);
    let at = |n: u32| Sqn(u32::MAX).plus(n);
    for n in [0, 1, 2, 5, 9] {
        offer(&mut rxw, at(n), 10);
    }
    rxw.open_gap(at(3), gap());
    rxw.open_gap(at(6), gap());
    assert_eq!(rxw.count_lost(at(3), at(9)), (5, 2));
    rxw.truncate(at(4));
    assert_eq!(
        (rxw.held(), rxw.missing(), rxw.bytes(), rxw.edge()),
        (3, 1, 30, at(3))
    );
    rxw.truncate(at(1));
    assert_eq!(
        (rxw.held(), rxw.missing(), rxw.bytes(), rxw.edge()),
        (1, 0, 10, at(1))
    );
    rxw.truncate(at(0));
    assert_eq!(
        (rxw.held(), rxw.bytes(), rxw.edge(), rxw.base()),
        (0, 0, at(0), at(0))
    );
}

#[test]
fn the_window_may_begin_earlier_or_later_than_its_first_packet() {
    for base in BASES {
        let at = |n: u32| Sqn(base).plus(n);
        let mut rxw = window(base, 128, 1000);
        for n in [0, 1, 3, 120] {
            offer(&mut rxw, at(n), 1);
        }
        rxw.restart_at(at(0).minus(5));
        assert_eq!((rxw.base(), rxw.edge()), (at(0).minus(5), at(0).minus(5)));
        assert_eq!((rxw.held(), rxw.lead()), (4, at(120)));
        rxw.restart_at(at(0).minus(20));
        assert_eq!(rxw.held(), 3, "120 does not fit any more");
        rxw.restart_at(at(0));
        assert_eq!((rxw.held(), rxw.edge()), (3, at(2)));
        rxw.restart_at(at(2));
        assert_eq!((rxw.held(), rxw.edge()), (1, at(2)));
        rxw.restart_at(at(0).minus(100_000));
        assert_eq!((rxw.held(), rxw.lead()), (0, at(120)));
        rxw.restart_at(at(500));
        assert_eq!((rxw.edge(), rxw.lead(), rxw.span()), (at(500), at(499), 0));
    }
}

#[test] // F-33, X-08
fn numbers_without_packets_leave_older_ones_alone() {
    for base in BASES {
        let mut rxw = window(base, 1 << 12, 1 << 20);
        let at = |n: u32| Sqn(base).plus(n);
        rxw.extend_lead(at(100));
        rxw.open_gap(at(0), gap());
        assert_eq!(offer(&mut rxw, at(1), 1), Offer::Taken);
        // There are 64 slots: these have none yet, and must not take those of the first two.
        rxw.skip(at(64));
        rxw.skip(at(65));
        assert!(rxw.gap(at(0)).is_some() && rxw.packet(at(1)).is_some());
        assert_eq!((rxw.missing(), rxw.held()), (1, 1));
    }
}
