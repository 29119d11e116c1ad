//! NAKs to a local repairer (RFC 3208 §9.5.4), and their copies to the neighbours (§6.3).

use crate::kit::*;
use pgm_engine::Destination;
use pgm_engine::num::{Nla, Sqn};
use pgm_engine::receiver::{ReceiverConfig, Subnet};
use pgm_engine::wire::{Body, Data, Options};
use std::net::Ipv4Addr;

fn using() -> ReceiverConfig {
    ReceiverConfig {
        use_dlr: true,
        ..config()
    }
}

/// A receiver that was told of [`DLR`], and then lost SQN 2.
fn redirected() -> Child {
    let mut child = Child::begun(using());
    advertise(&mut child, DLR);
    child.odata(1);
    child.odata(3);
    child
}

fn advertise(child: &mut Child, dlr: Ipv4Addr) {
    let (body, options) = redirecting(Nla::V4(dlr));
    child.hear(by_group(SOURCE), body, options);
}

/// Lose SQN `sqn`, given that all before it is known.
fn lose(child: &mut Child, sqn: u32) {
    child.odata(sqn + 1);
    child.pass(ms(10));
}

fn rdata(child: &mut Child, from: Ipv4Addr, sqn: u32, trail: u32, options: Options) -> bool {
    let data = Data {
        sqn: Sqn(sqn),
        trail: Sqn(trail),
    };
    let bytes = wire(Body::Rdata(data), options, &payload(sqn), |_| ());
    child.feed(by_group(from), &bytes)
}

fn nothing_is_missing(child: &Child) -> bool {
    let stats = child.peer.stats(child.now);
    stats.pending_naks + stats.outstanding_naks == 0
}

#[test] // NAKs go to the DLR; its POLR confirms none
fn naks_go_to_the_dlr() {
    let mut child = redirected();
    child.pass(ms(10));
    assert_eq!(child.summaries(), [line("NAK 2", to(DLR))]);
    child.ncf(&[2]);
    assert!(rdata(&mut child, SOURCE, 2, 1, Options::default()));
    assert!(nothing_is_missing(&child));
    let stats = child.peer.stats(child.now);
    assert_eq!((stats.naks_redirected, stats.redirects_taken), (1, 1));

    // The POLR that a NAK provoked does not complete it.
    let mut child = Child::one_missing(using());
    child.pass(ms(10));
    assert_eq!(child.summaries(), [line("NAK 2", to(PARENT))]);
    advertise(&mut child, DLR);
    assert_eq!(
        child.peer.stats(child.now).outstanding_naks,
        0,
        "no WAIT_DATA"
    );
    child.pass(ms(111));
    assert_eq!(child.summaries(), [line("NAK 2", to(DLR))], "NAK_RPT_IVL");
}

#[test] // the default: whatever is advertised, the parent is asked
fn redirects_are_ignored_unless_asked_for() {
    let mut child = Child::begun(config());
    advertise(&mut child, DLR);
    child.odata(1);
    lose(&mut child, 2);
    assert_eq!(child.summaries(), [line("NAK 2", to(PARENT))]);
    assert_eq!(child.peer.stats(child.now).redirects_ignored, 1);
}

#[test] // a DLR of our own subnet has lost what we have lost
fn a_dlr_of_our_own_subnet_is_ignored() {
    let subnet = |prefix| Subnet {
        addr: Ipv4Addr::new(10, 2, 2, 77),
        prefix,
    };
    for (prefix, ignored) in [(24, true), (32, false), (0, true), (8, true), (30, false)] {
        let mut child = Child::begun(ReceiverConfig {
            subnets: vec![subnet(prefix)],
            ..using()
        });
        advertise(&mut child, DLR);
        child.odata(1);
        lose(&mut child, 2);
        let expected = if ignored { PARENT } else { DLR };
        assert_eq!(
            child.summaries(),
            [line("NAK 2", to(expected))],
            "/{prefix}"
        );
    }
}

#[test] // without NCF within NAK_RPT_IVL the redirect is dropped, and the parent asked
fn a_silent_dlr_is_dropped() {
    let mut child = redirected();
    child.pass(ms(10));
    assert_eq!(child.summaries(), [line("NAK 2", to(DLR))]);
    child.pass(ms(90));
    assert_eq!(child.summaries(), []);
    child.pass(ms(21));
    assert_eq!(child.summaries(), [line("NAK 2", to(PARENT))]);
    // Whoever advertises it now: not at once again.
    advertise(&mut child, DLR);
    advertise(&mut child, STRANGER);
    lose(&mut child, 4);
    assert_eq!(child.summaries(), [line("NAK 4", to(PARENT))]);
    child.pass(ms(300));
    child.take();
    advertise(&mut child, DLR);
    lose(&mut child, 6);
    assert!(child.summaries().contains(&line("NAK 6", to(DLR))));
}

#[test] // what the DLR confirms and does not repair goes to the parent next
fn a_dlr_that_does_not_repair_is_not_asked_twice() {
    let mut child = redirected();
    child.pass(ms(10));
    child.take();
    child.ncf(&[2]);
    child.pass(ms(311));
    assert_eq!(child.summaries(), [line("NAK 2", to(PARENT))]);
    lose(&mut child, 4);
    assert_eq!(child.summaries(), [line("NAK 4", to(DLR))], "others still");
    for sqn in [6, 8] {
        child.ncf(&[sqn - 2]);
        lose(&mut child, sqn);
        child.ncf(&[sqn]);
    }
    child.pass(ms(400));
    child.take();
    lose(&mut child, 10);
    assert!(
        child.summaries().contains(&line("NAK 10", to(PARENT))),
        "three in a row"
    );
}

#[test] // a DLR that cannot send as the source answers from its own address
fn a_dlr_answers_for_what_is_missing() {
    let mut child = redirected();
    assert!(
        rdata(&mut child, DLR, 2, 1, Options::default()),
        "another child asked"
    );
    assert!(nothing_is_missing(&child));
    let mut child = Child::one_missing(using());
    assert!(
        !rdata(&mut child, DLR, 2, 1, Options::default()),
        "not our DLR"
    );
    advertise(&mut child, DLR);
    child.pass(ms(10));
    assert_eq!(child.summaries(), [line("NAK 2", to(DLR))]);
    let ncf = |child: &mut Child, from, sqns: &[u32]| {
        child.hear(by_group(from), Body::Ncf(nak(sqns)), Options::default())
    };
    assert!(!ncf(&mut child, STRANGER, &[2]));
    assert!(
        !ncf(&mut child, DLR, &[50]),
        "nor may it tell of what nobody asked for"
    );
    assert!(ncf(&mut child, DLR, &[2, 50]));
    let stats = child.peer.stats(child.now);
    assert_eq!((stats.outstanding_naks, stats.lead), (1, 3));
    assert!(!rdata(&mut child, STRANGER, 2, 1, Options::default()));
    assert!(!rdata(&mut child, DLR, 5, 1, Options::default()));
    // Its word about the window and the end is not heard.
    let fin = Options {
        fin: true,
        ..Options::default()
    };
    assert!(rdata(&mut child, DLR, 2, 900, fin));
    assert!(nothing_is_missing(&child));
    child.odata(4);
    let stats = child.peer.stats(child.now);
    assert_eq!((stats.lead, stats.lost_window_advanced), (4, 0));
    assert!(!rdata(&mut child, DLR, 2, 1, Options::default()), "no more");
}

#[test] // hostile: POLRs from third addresses, for groups, IPv6, in floods
fn forged_redirects_lead_nowhere() {
    let mut child = Child::begun(using());
    let third = redirecting(Nla::V4(DLR));
    child.hear(by_group(STRANGER), third.0, third.1);
    for nla in [
        Nla::V4(GROUP),
        Nla::V4(Ipv4Addr::UNSPECIFIED),
        Nla::V4(Ipv4Addr::BROADCAST),
        Nla::V4(PARENT),
        Nla::V6("2001:db8::1".parse().unwrap()),
    ] {
        let (body, options) = redirecting(nla);
        child.hear(by_group(SOURCE), body, options);
    }
    let held = child.peer.bytes_held();
    for n in 0..10_000 {
        let nla = Nla::V4(Ipv4Addr::from(0x0b00_0000 + n));
        let (body, options) = redirecting(nla);
        child.hear(by_group(STRANGER), body, options);
    }
    assert_eq!(child.peer.bytes_held(), held);
    child.odata(1);
    lose(&mut child, 2);
    assert_eq!(child.summaries(), [line("NAK 2", to(PARENT))]);
    let stats = child.peer.stats(child.now);
    assert_eq!(
        (stats.redirects_taken, stats.redirects_ignored),
        (0, 10_006)
    );
}

#[test] // a stream of POLRs that point to nobody delays few repairs, ever fewer
fn forged_redirects_delay_few_repairs() {
    let mut child = Child::begun(using());
    child.odata(1);
    for sqn in (2..200).step_by(2) {
        advertise(&mut child, STRANGER);
        lose(&mut child, sqn);
        child.pass(ms(130));
        let sent = child.summaries();
        assert!(sent.iter().any(|(_, at)| *at == to(PARENT)));
    }
    // 99 gaps, 140 ms each: shunned for 250 ms, 500 ms, 1 s, 2 s, 4 s, 8 s.
    let redirects = child.peer.stats(child.now).redirects_taken;
    assert!((1..=7).contains(&redirects), "{redirects}");
}

#[test] // the copy, only where the parent is not directly connected
fn a_nak_is_copied_to_neighbours_if_the_parent_is_elsewhere() {
    let copying = |nak_copy, subnet: [u8; 4]| ReceiverConfig {
        nak_copy,
        subnets: vec![Subnet {
            addr: subnet.into(),
            prefix: 24,
        }],
        ..config()
    };
    let elsewhere = [10, 7, 7, 7];
    let mut child = Child::one_missing(copying(true, elsewhere));
    child.pass(ms(10));
    let sent = child.take();
    assert_eq!(sent.len(), 2);
    assert_eq!((sent[0].to, sent[0].ttl), (to(PARENT), None));
    assert_eq!(
        (sent[1].to, sent[1].ttl),
        (Destination::Group(GROUP), Some(1))
    );
    assert_eq!(sent[0].body(), sent[1].body());
    for config in [copying(false, elsewhere), copying(true, [10, 1, 1, 9])] {
        let mut child = Child::one_missing(config);
        child.pass(ms(10));
        assert_eq!(child.summaries(), [line("NAK 2", to(PARENT))]);
    }
}
