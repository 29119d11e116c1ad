//! Whatever happens: no busy loop, no stall, no packet that breaks a rule (the rig checks each).

use crate::rig::*;
use pgm_engine::num::Sqn;
use pgm_engine::source::SourceConfig;
use pgm_engine::wire::Body;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Action {
    Send(usize),
    Nak(Vec<i32>),
    Spmr,
    Wait(u64),
    /// Wake up late, as a busy machine does.
    Sleep(u64),
    Close,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1..4_000_usize).prop_map(Action::Send),
        1 => (20_000..60_000_usize).prop_map(Action::Send),
        // Distance from the leading edge.
        3 => prop::collection::vec(-60..4_i32, 1..20).prop_map(Action::Nak),
        1 => Just(Action::Spmr),
        4 => (1..50_000_u64).prop_map(Action::Wait),
        2 => (1..50_000_u64).prop_map(Action::Sleep),
        1 => prop_oneof![9 => Just(Action::Spmr), 1 => Just(Action::Close)],
    ]
}

fn configs() -> impl Strategy<Value = SourceConfig> {
    (
        prop_oneof![Just(None), (500..5_000_000_u64).prop_map(Some)],
        0..200_000_u64,
        0..400_u64,
        0..=100_u8,
        prop_oneof![Just(0), Just(u32::MAX - 20), any::<u32>()],
        200..1_500_usize,
        (0..50_u64, 0..1_000_u64, 0..1_000_u64),
    )
        .prop_map(
            |(rate, window_bytes, ivl, percent, first, max_tpdu, (ihb, quiet, max))| SourceConfig {
                rate,
                window_bytes,
                window_ivl: ms(ivl),
                window_adv_percent: percent,
                late_join_percent: percent,
                first_sqn: Sqn(first),
                max_tpdu,
                ihb_min: ms(ihb),
                linger_quiet: ms(quiet),
                linger_max: ms(max),
                ..config()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_source_never_spins_and_never_stalls(
        config in configs(),
        actions in prop::collection::vec(action(), 1..60),
    ) {
        let mut rig = Rig::new(config);
        for action in actions {
            match action {
                Action::Send(len) => {
                    let _ = rig.source.send(rig.now, apdu(len));
                }
                Action::Nak(offsets) => {
                    let lead = rig.source.stats(rig.now).lead as u32;
                    let sqns: Vec<u32> =
                        offsets.iter().map(|by| lead.wrapping_add_signed(*by)).collect();
                    rig.nak(&sqns);
                }
                Action::Spmr => rig.upstream(Body::Spmr),
                Action::Wait(span) => rig.run_for(us(span)), // panics on a busy loop
                Action::Sleep(span) => {
                    rig.now += us(span);
                    rig.wake();
                }
                Action::Close => rig.source.close(rig.now),
            }
            prop_assert!(rig.source.poll_timeout().is_some() || rig.source.is_finished());
        }
        // However slow, it ends, with everything sent.
        rig.source.close(rig.now);
        let limit = rig.now + secs(100_000);
        while !rig.source.is_finished() {
            let stepped = rig.step(limit);
            prop_assert!(stepped || rig.source.is_finished(), "stalled: {:?}", rig.source);
        }
        prop_assert_eq!(rig.source.unsent(), 0);
    }
}

#[test] // an idle source wakes about as often as it sends
fn wakes_are_not_wasted() {
    let mut rig = Rig::new(config());
    let mut wakes = 0;
    for _ in 0..50 {
        rig.send(apdu(1_400));
        let end = rig.now + ms(100);
        while rig.step(end) {
            wakes += 1;
        }
    }
    let packets = rig.sent.len();
    assert!(wakes <= packets, "{wakes} wakes for {packets} packets");
}
