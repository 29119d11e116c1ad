//! Which sources are asked for parity: never one that a parity NAK kills.

use crate::kit::{Rig, config};
use crate::stream::{BO_IVL, BOTH, FIRST, ON_DEMAND, Offer, PROACTIVE, Stream, offering};
use pgm_engine::receiver::{ParityNaks, ReceiverConfig};
use pgm_engine::wire::{Options, ParityPrm};

/// Whether a source with SPMs like `options` is asked for parity, and for how long after the end of a group.
fn asks(parity_naks: ParityNaks, options: &Options) -> bool {
    let stream = Stream::even(8, 16);
    let mut rig = Rig::new(ReceiverConfig {
        parity_naks,
        ..config()
    });
    rig.spm_with(FIRST, FIRST - 1, options.clone());
    rig.data_but(&stream, FIRST..FIRST + 16, &[FIRST + 1]);
    rig.pass(BO_IVL);
    match rig.all_naks().as_slice() {
        [(true, sqns)] if sqns[..] == [FIRST] => true,
        [(false, sqns)] if sqns[..] == [FIRST + 1] => false,
        other => panic!("{other:?}"),
    }
}

/// As libpgm sends it: no back-off interval, and the bits the other way round.
fn of_libpgm(offer: Offer) -> Options {
    let prm = ParityPrm {
        proactive: offer.on_demand,
        on_demand: offer.proactive,
        tg_size: 8,
    };
    Options {
        parity_prm: Some(prm),
        ..Options::default()
    }
}

#[test] // F-24: whatever it offers, libpgm's source is asked for packets only, and at once
fn libpgm_is_never_asked_for_parity() {
    for offer in [PROACTIVE, ON_DEMAND, BOTH] {
        assert!(!asks(ParityNaks::Auto, &of_libpgm(offer)), "{offer:?}");
        assert!(!asks(ParityNaks::Off, &of_libpgm(offer)), "{offer:?}");
    }
}

#[test] // F-24
fn a_source_that_follows_the_rfc_is_asked_for_what_it_offers() {
    for (offer, asked) in [(PROACTIVE, false), (ON_DEMAND, true), (BOTH, true)] {
        assert_eq!(
            asks(ParityNaks::Auto, &offering(8, offer)),
            asked,
            "{offer:?}"
        );
        assert!(!asks(ParityNaks::Off, &offering(8, offer)), "{offer:?}");
    }
}

#[test] // PGM_FEC_PARITY_NAKS=on: the user knows that it is no libpgm
fn the_setting_trusts_sources_without_a_back_off_interval() {
    for (offer, asked) in [(PROACTIVE, false), (ON_DEMAND, true), (BOTH, true)] {
        let options = Options {
            nak_bo_ivl: None,
            ..offering(8, offer)
        };
        assert_eq!(asks(ParityNaks::On, &options), asked, "{offer:?}");
        assert!(!asks(ParityNaks::Auto, &options), "{offer:?}");
    }
}

#[test] // F-22, F-23: without asking, parity that comes is used, and groups may be learnt late
fn parity_of_an_unknown_source_is_used() {
    let stream = Stream::even(8, 16);
    let mut rig = Rig::new(config());
    rig.spm_with(FIRST, FIRST - 1, of_libpgm(PROACTIVE));
    rig.data_but(&stream, FIRST..FIRST + 16, &[FIRST + 1, FIRST + 9]);
    rig.parity(&stream, FIRST, 0, false);
    rig.parity(&stream, FIRST + 8, 0, false);
    rig.reads_all(&stream);
    rig.pass(BO_IVL);
    assert_eq!(rig.all_naks(), []);
}

#[test] // F-11: a source that answers selective NAKs with parity repairs who does not ask for it
fn parity_answers_selective_naks() {
    let stream = Stream::even(8, 16);
    let mut rig = Rig::of_groups_with(
        ReceiverConfig {
            parity_naks: ParityNaks::Off,
            ..config()
        },
        8,
        ON_DEMAND,
        0,
    );
    rig.data_but(&stream, FIRST..FIRST + 16, &[FIRST + 1, FIRST + 2]);
    rig.pass(BO_IVL);
    assert_eq!(rig.all_naks(), [(false, vec![FIRST + 1, FIRST + 2])]);
    rig.parity(&stream, FIRST, 0, true);
    rig.parity(&stream, FIRST, 1, true);
    rig.reads_all(&stream);
}

#[test] // F-22: another SPM may stop or begin the offer, or change k; what was held for the old k is let go
fn later_spms_change_the_offer() {
    let stream = Stream::even(4, 64);
    let mut rig = Rig::of_groups(8, ON_DEMAND);
    rig.data_but(&stream, FIRST..FIRST + 16, &[FIRST + 1]);
    rig.spm_with(FIRST, FIRST + 15, offering(4, ON_DEMAND));
    rig.pass(BO_IVL);
    assert_eq!(
        rig.all_naks(),
        [(false, vec![FIRST + 1])],
        "the group of eight is no more"
    );
    rig.data_as(&stream, FIRST + 1, true, None);
    rig.data_but(&stream, FIRST + 16..FIRST + 32, &[FIRST + 17]);
    rig.pass(BO_IVL);
    assert_eq!(rig.parity_naks(), [FIRST + 16]);
    rig.parity(&stream, FIRST + 16, 0, true);
    rig.spm_with(FIRST, FIRST + 31, offering(4, PROACTIVE));
    rig.data_but(&stream, FIRST + 32..FIRST + 64, &[FIRST + 33]);
    rig.pass(BO_IVL);
    assert_eq!(rig.all_naks(), [(false, vec![FIRST + 33])]);
    rig.data_as(&stream, FIRST + 33, true, None);
    rig.reads_all(&stream);
}
