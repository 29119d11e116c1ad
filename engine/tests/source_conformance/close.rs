//! RFC 3208 §9.7: the orderly end; §9.8: the other one.

use crate::rig::*;
use pgm_engine::num::Sqn;
use pgm_engine::source::{SendError, SourceConfig};
use pgm_engine::wire::{Body, Rst, Window};

fn fins(packets: &[Packet]) -> Vec<(&'static str, bool)> {
    packets
        .iter()
        .map(|packet| (packet.kind(), packet.tpdu().options.fin))
        .collect()
}

/// Run until the source is finished; how long that took, in ms.
fn finish(rig: &mut Rig) -> u64 {
    let from = rig.now;
    while !rig.source.is_finished() {
        assert!(
            rig.step(from + secs(100)) || rig.source.is_finished(),
            "never finishes"
        );
    }
    assert_eq!(rig.source.poll_timeout(), None);
    let last = rig.finished_at.expect("step saw it finish");
    (last - from).as_millis() as u64
}

#[test] // S-28, S-29: at once when nothing is unsent, then on every SPM
fn an_idle_source_announces_fin_at_once() {
    let mut rig = Rig::settled(config());
    rig.send_small(3);
    rig.run_for(ms(300));
    rig.take();
    rig.source.close(rig.now);
    assert_eq!(rig.source.poll_timeout(), Some(rig.now));
    rig.drain();
    assert_eq!(fins(&rig.sent), [("SPM", true)]);
    let Body::Spm(spm) = rig.sent[0].tpdu().body else {
        panic!("an SPM")
    };
    assert_eq!(
        spm.window,
        Some(Window {
            trail: Sqn(0),
            lead: Sqn(2)
        }),
        "lead: last data sent"
    );
    finish(&mut rig);
    assert!(
        fins(&rig.sent)
            .iter()
            .all(|packet| *packet == ("SPM", true))
    );
}

#[test] // S-28, RFC 3208 §9.7.2: SPMs carry OPT_FIN only when all data was sent; the last ODATA does, too
fn fin_waits_for_the_queue() {
    let mut rig = Rig::settled(SourceConfig {
        rate: Some(100_000),
        ..config()
    });
    for _ in 0..50 {
        rig.send(apdu(1_000));
    }
    rig.source.close(rig.now);
    finish(&mut rig);
    let packets = rig.take();
    let last = packets
        .iter()
        .rposition(|packet| packet.kind() == "ODATA")
        .expect("data");
    for (i, packet) in packets.iter().enumerate() {
        assert_eq!(packet.tpdu().options.fin, i >= last, "packet {i} of {last}");
    }
    assert_eq!(data_sqn(&packets[last]), Some(49));
    assert_eq!(packets[last + 1].kind(), "SPM");
    assert_eq!(packets[last + 1].at, packets[last].at, "S-29: at once");
}

#[test] // S-30: a lost tail is told again and again
fn fin_is_repeated_densely_for_the_quiet_time() {
    let mut rig = Rig::settled(config());
    rig.send_small(1);
    rig.source.close(rig.now);
    rig.take();
    let took = finish(&mut rig);
    assert!((500..=502).contains(&took), "{took} ms: linger_quiet");
    let times: Vec<_> = rig
        .sent
        .iter()
        .map(|packet| packet.at.as_millis())
        .collect();
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps[..3], [4, 8, 16]);
    assert!(
        gaps.iter().all(|gap| *gap <= 32) && times.len() >= 16,
        "{gaps:?}"
    );
}

#[test] // S-30: while the process stands still nobody can ask
fn a_pause_of_the_process_is_no_quiet_time() {
    let mut rig = Rig::settled(config());
    rig.send_small(1);
    rig.source.close(rig.now);
    rig.run_for(ms(40));
    rig.now += secs(2);
    rig.source.handle_timeout(rig.now);
    rig.drain();
    assert!(!rig.source.is_finished());
    let took = finish(&mut rig);
    assert!((200..=500).contains(&took), "{took} ms: more SPMs with FIN");
}

#[test] // S-30: repairs stay available, and whoever asks is waited for
fn a_nak_during_the_linger_extends_it() {
    let mut rig = Rig::settled(config());
    rig.send_small(10);
    rig.source.close(rig.now);
    for _ in 0..5 {
        rig.run_for(ms(400));
        rig.take();
        rig.nak(&[9]);
        rig.drain();
        assert_eq!(rig.kinds(), ["NCF", "RDATA"]);
    }
    rig.run_for(ms(2));
    rig.nak(&[9]); // the RDATA is under way, so there is no second one: the NAK itself counts
    // Two seconds of repairs: much is lost there, and the next NAK may be lost as well.
    let took = finish(&mut rig);
    assert!(
        (4_000..=4_010).contains(&took),
        "{took} ms: twice as long as repairs went on"
    );
}

#[test]
fn naks_cannot_hold_a_source_beyond_linger_max() {
    let mut rig = Rig::settled(SourceConfig {
        linger_max: secs(3),
        ..config()
    });
    rig.send_small(10);
    rig.source.close(rig.now);
    let closed = rig.now;
    while !rig.source.is_finished() {
        rig.nak(&[9]);
        rig.run_for(ms(50));
        assert!(rig.now < closed + secs(4));
    }
    assert!(rig.now >= closed + secs(3));
    rig.take();
    rig.nak(&[9]);
    rig.run_for(secs(1));
    assert!(rig.sent.is_empty(), "a finished source is silent");
}

#[test] // linger off: one FIN is all
fn without_linger_the_fin_is_still_sent() {
    let config = SourceConfig {
        linger_quiet: ms(0),
        linger_max: ms(0),
        ..config()
    };
    let mut rig = Rig::settled(config);
    rig.send(apdu(1));
    rig.source.close(rig.now);
    assert_eq!(finish(&mut rig), 0);
    assert_eq!(fins(&rig.sent), [("ODATA", true), ("SPM", true)]);
}

#[test] // a group that needs a long back-off gets time to ask
fn the_quiet_time_covers_the_back_off() {
    let config = SourceConfig {
        linger_quiet: ms(10),
        ..config()
    };
    let mut rig = Rig::settled(config);
    rig.send_small(20);
    for sqn in [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1] {
        rig.nak(&[sqn]);
    }
    rig.run_for(ms(100));
    rig.source.close(rig.now);
    let took = finish(&mut rig);
    assert!(
        (360..=380).contains(&took),
        "four back-off intervals of 90 ms: {took}"
    );
}

#[test]
fn a_closed_source_takes_no_data() {
    let mut rig = Rig::settled(config());
    rig.source.close(rig.now);
    assert_eq!(rig.source.send(rig.now, apdu(1)), Err(SendError::Closed));
    assert!(!rig.source.is_writable());
    rig.source.close(rig.now); // twice is once
    assert!(finish(&mut rig) <= 502);
}

#[test] // a program that connects and exits at once
fn a_source_closed_at_birth_ends_cleanly() {
    let mut rig = Rig::new(config());
    rig.send(apdu(10));
    rig.source.close(rig.now);
    finish(&mut rig);
    let first = fins(&rig.sent);
    assert_eq!(first[..3], [("SPM", false), ("ODATA", true), ("SPM", true)]);
}

const RST: Rst = Rst {
    no_naks: false,
    code: 5,
};

/// What the SPMs among the packets say of the end.
fn ends(packets: &[Packet]) -> Vec<(bool, Option<Rst>)> {
    let options = packets.iter().map(|packet| packet.tpdu().options);
    options.map(|options| (options.fin, options.rst)).collect()
}

#[test] // S-31: at once, on every SPM, for as long as a FIN; what is out can still be had
fn an_abort_is_announced_at_once_and_repairs_go_on() {
    let mut rig = Rig::settled(config());
    rig.send_small(3);
    rig.run_for(ms(300));
    rig.take();
    rig.send(apdu(20_000_000));
    rig.run_for(ms(1));
    let lead = rig.source.stats(rig.now).lead as u32;
    assert!(
        lead > 3 && rig.source.unsent() > 0,
        "in the middle of an APDU"
    );
    rig.take();
    rig.source.discard();
    rig.source.abort(rig.now, RST);
    rig.drain();
    assert_eq!(rig.kinds(), ["SPM"], "what is unsent is dropped");
    let Body::Spm(spm) = rig.sent[0].tpdu().body else {
        panic!("an SPM")
    };
    assert_eq!(spm.window.map(|window| window.lead), Some(Sqn(lead)));
    assert_eq!(rig.source.send(rig.now, apdu(1)), Err(SendError::Closed));
    rig.nak(&[1]);
    rig.drain();
    rig.run_for(ms(3));
    assert!(rig.kinds().contains(&"RDATA"), "{:?}", rig.kinds());
    rig.take();
    assert!(finish(&mut rig) > 490, "linger_quiet");
    let sent = rig.take();
    assert!(sent.len() > 12 && sent.iter().all(|packet| packet.kind() == "SPM"));
    assert!(ends(&sent).iter().all(|end| *end == (false, Some(RST))));
}

#[test] // S-31: an error is told where it happened
fn what_was_accepted_before_an_error_is_sent_before_it() {
    let mut rig = Rig::settled(config());
    for _ in 0..100 {
        rig.send(apdu(1_400));
    }
    rig.source.abort(rig.now, RST);
    finish(&mut rig);
    let sent = rig.take();
    let last = sent.iter().rposition(|packet| packet.kind() == "ODATA");
    let (data, after) = sent.split_at(last.expect("data") + 1);
    assert_eq!(data.iter().filter(|p| p.kind() == "ODATA").count(), 100);
    assert!(ends(data).iter().all(|end| *end == (false, None)));
    assert!(ends(after).iter().all(|end| *end == (false, Some(RST))));
}

#[test] // S-32: N goes with silence, and only with it
fn who_cannot_answer_says_so() {
    let mut rig = Rig::settled(SourceConfig {
        rate: Some(1_000),
        ..config()
    });
    rig.send_small(3);
    rig.run_for(secs(10));
    rig.take();
    let deaf = Rst {
        no_naks: true,
        code: 0,
    };
    for _ in 0..3 {
        rig.source.abort(rig.now, deaf);
        rig.drain();
    }
    assert_eq!(
        ends(&rig.take()),
        [(false, Some(deaf)); 3],
        "now or never, whatever the rate"
    );
    rig.nak(&[1]);
    rig.run_for(ms(100));
    assert!(rig.kinds().iter().all(|kind| *kind == "SPM"));
    assert_eq!(rig.source.stats(rig.now).naks_ignored, 1);
}

#[test] // S-28, S-31: who has everything ends in order all the same
fn an_abort_after_fin_keeps_the_fin() {
    let mut rig = Rig::settled(config());
    rig.send_small(3);
    rig.source.close(rig.now);
    rig.drain();
    rig.take();
    rig.source.abort(rig.now, RST);
    finish(&mut rig);
    let ends = ends(&rig.sent);
    assert!(!ends.is_empty() && ends.iter().all(|end| *end == (true, Some(RST))));
}
