//! Congestion reports.

use super::*;
use crate::wire::Cr;

fn cr(lead: u32, rx_wp: u16, receiver: u8) -> Cr {
    Cr {
        bits: CrBits {
            link: true,
            path: true,
            receiver: true,
        },
        lead: Sqn(lead),
        ne_wl: 0,
        ne_wp: 0,
        rx_wp,
        receiver: Ipv4Addr::new(10, 3, 0, receiver).into(),
    }
}

/// The report that goes up with a NAK for `sqn`, if it goes.
fn reported(rig: &mut Rig, iface: usize, sqn: u32, report: Cr) -> Option<Cr> {
    let options = Options {
        cr: Some(report),
        ..Options::default()
    };
    let bytes = packet(Body::Nak(nak([sqn])), false, options);
    let out = rig.give(iface, NEAR[iface], OWN[iface], bytes);
    let up: Vec<_> = out.iter().filter(|o| o.iface == 0).collect();
    assert!(up.len() <= 1);
    up.first().and_then(|o| o.options.cr)
}

#[test] // C-04
fn the_worst_receiver_is_named_upstream() {
    let mut rig = Rig::new(ElementConfig::default());
    let first = reported(&mut rig, 1, 5, cr(100, 1000, 1)).unwrap();
    assert_eq!((first.rx_wp, first.receiver), (1000, cr(0, 0, 1).receiver));
    let better = reported(&mut rig, 2, 6, cr(100, 500, 2)).unwrap();
    assert_eq!(
        (better.rx_wp, better.receiver),
        (1000, first.receiver),
        "the one sent before"
    );
    let worse = reported(&mut rig, 2, 7, cr(100, 3000, 2)).unwrap();
    assert_eq!((worse.rx_wp, worse.receiver), (3000, cr(0, 0, 2).receiver));
}

#[test] // C-04
fn recorded_reports_age_with_the_packets_since() {
    let mut rig = Rig::new(ElementConfig::default());
    // 6554: one packet in ten. Ten packets later it counts exp(-1/2) of that.
    reported(&mut rig, 1, 5, cr(100, 6554, 1));
    let aged = reported(&mut rig, 1, 6, cr(110, 0, 2)).unwrap();
    assert_eq!(aged.lead, Sqn(110));
    let expected = (6554.0_f64 * (-0.5_f64).exp()) as u16;
    assert!(
        aged.rx_wp.abs_diff(expected) <= 2,
        "{} {expected}",
        aged.rx_wp
    );
    assert_eq!(aged.receiver, cr(0, 0, 1).receiver);
    let early = reported(&mut rig, 1, 7, cr(90, 0, 2)).unwrap();
    assert_eq!(early.lead, Sqn(110), "the highest SQN known");
}

#[test] // C-04, X-08
fn reports_age_across_the_wrap() {
    let mut rig = Rig::new(ElementConfig::default());
    reported(&mut rig, 1, 5, cr(u32::MAX - 4, 6554, 1));
    let aged = reported(&mut rig, 1, 6, cr(5, 0, 2)).unwrap();
    assert!((3970..3980).contains(&aged.rx_wp), "{}", aged.rx_wp);
    assert_eq!(aged.lead, Sqn(5));
}

#[test] // C-04
fn links_and_paths_report_their_load() {
    let mut rig = Rig::new(ElementConfig::default());
    rig.element.set_load(1, 0x4000);
    rig.element.set_load(2, 0x2000);
    rig.element.set_load(0, 0xF000);
    let incoming = Cr {
        ne_wl: 0x3000,
        ne_wp: 0x8000,
        ..cr(100, 0, 2)
    };
    let got = reported(&mut rig, 2, 5, incoming).unwrap();
    assert_eq!(got.ne_wl, 0x4000, "the worst link below, not the one above");
    // An eighth of the link before it, then half of what is left.
    let expected = 65535.0 * (0.125 + 0.5 * 0.875);
    assert!(got.ne_wp.abs_diff(expected as u16) <= 2, "{:#x}", got.ne_wp);
}

#[test] // C-05
fn news_of_more_than_a_twentieth_are_not_suppressed() {
    let mut rig = Rig::new(ElementConfig::default());
    assert!(reported(&mut rig, 1, 5, cr(100, 10_000, 1)).is_some());
    rig.ncf([5]);
    assert_eq!(reported(&mut rig, 1, 5, cr(100, 10_000, 1)), None);
    assert_eq!(reported(&mut rig, 1, 5, cr(100, 10_500, 1)), None, "5 %");
    let news = reported(&mut rig, 1, 5, cr(100, 10_501, 1));
    assert_eq!(news.unwrap().rx_wp, 10_501);
    assert_eq!(rig.wait(ms(5000)), [], "and such a NAK is not repeated");
    let unasked = Cr {
        bits: CrBits::default(),
        ..cr(100, 60_000, 1)
    };
    rig.ncf([5]);
    assert_eq!(
        reported(&mut rig, 1, 5, unasked),
        None,
        "not what was not asked for"
    );
}

#[test] // C-04: nothing but the values changes, so that older and newer elements agree
fn a_nak_keeps_its_other_options() {
    let mut rig = Rig::new(ElementConfig::default());
    let options = Options {
        cr: Some(cr(100, 77, 1)),
        ..Options::default()
    };
    let bytes = packet(Body::Nak(nak([5, 6, 7])), false, options);
    let out = rig.give(1, NEAR[1], OWN[1], bytes);
    assert_eq!(naks(&out), up([5, 6, 7]));
    assert_eq!(out[1].options.cr.unwrap().bits, cr(0, 0, 0).bits);
}
