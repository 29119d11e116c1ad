//! POLL and POLR (RFC 3208 §14), as child and as parent.

use crate::common::{self, secs};
use crate::kit::*;
use pgm_engine::endpoint::{Endpoint, EndpointConfig, ListenConfig};
use pgm_engine::num::{Nla, Sqn};
use pgm_engine::receiver::{DlrConfig, DlrRole, ReceiverConfig};
use pgm_engine::testnet::{DPORT as NET_DPORT, GROUP as NET_GROUP, Kind, TestNet, lan_source};
use pgm_engine::wire::{Body, NakBoIvl, Options, Poll, Polr, Spm, Tpdu, Window};
use pgm_engine::{Arrival, Destination};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// A POLL that everybody answers at once.
fn poll(sqn: u32, round: u16) -> Poll {
    Poll {
        sqn: Sqn(sqn),
        round,
        sub_type: 0,
        path: Nla::V4(PARENT),
        bo_ivl: 0,
        rand: 0,
        mask: 0,
    }
}

fn hear(child: &mut Child, poll: Poll) {
    child.told_by_source(Body::Poll(poll), Options::default());
}

/// POLL_SQN and POLL_ROUND of the replies so far.
fn replies(child: &mut Child) -> Vec<(u32, u16)> {
    child.pass(ms(20));
    let sent = child.take();
    let polrs = sent.iter().filter_map(|sent| match sent.body() {
        Body::Polr(polr) => {
            assert_eq!((sent.to, sent.ttl), (to(PARENT), None));
            Some((polr.sqn.0, polr.round))
        }
        _ => None,
    });
    polrs.collect()
}

/// Bit by bit, what the node id of a session must be, from the polls it answers.
fn node_id(endpoint: &mut Endpoint, now: &mut Instant, session: u16) -> u32 {
    let tsi = common::tsi(session.into());
    let arrival = Arrival {
        from: SOURCE,
        group: Some(NET_GROUP),
    };
    let mut id = 0;
    for bit in 0..32 {
        let body = Body::Poll(Poll {
            rand: 1 << bit,
            mask: 1 << bit,
            ..poll(bit + 1, 0)
        });
        let bytes = common::packet(tsi, NET_DPORT, body, Options::default(), &[]);
        endpoint.handle_tpdu(*now, arrival, &bytes);
        *now += secs(1);
        endpoint.handle_timeout(*now);
        let mut out = Vec::new();
        while let Some(transmit) = endpoint.poll_transmit(*now, &mut out) {
            let tpdu = Tpdu::parse(&out[out.len() - transmit.len..]).unwrap();
            if matches!(tpdu.body, Body::Polr(_)) && tpdu.tsi() == tsi {
                id |= 1 << bit;
            }
        }
    }
    id
}

#[test] // P-01: one id for the host, whatever the session; another for another host
fn a_host_has_one_node_id() {
    let ids: Vec<_> = [3, 4]
        .map(|seed| {
            let (max_peers, max_bytes) = (10, 1 << 20);
            let mut endpoint = Endpoint::new(
                EndpointConfig {
                    max_peers,
                    max_bytes,
                },
                seed,
            );
            let mut receiver = pgm_engine::testnet::lan_receiver();
            receiver.peer_expiry = secs(1000);
            endpoint.listen(ListenConfig {
                group: NET_GROUP,
                dport: NET_DPORT,
                receiver,
            });
            let mut now = Instant::now();
            for session in [1, 2] {
                let spm = Body::Spm(Spm {
                    spm_sqn: Sqn(1),
                    window: Some(Window {
                        trail: Sqn(1),
                        lead: Sqn(0),
                    }),
                    path: Nla::V4(PARENT),
                });
                let tsi = common::tsi(session);
                let bytes = common::packet(tsi, NET_DPORT, spm, Options::default(), &[]);
                let arrival = Arrival {
                    from: SOURCE,
                    group: Some(NET_GROUP),
                };
                endpoint.handle_tpdu(now, arrival, &bytes);
            }
            let [one, two] = [1, 2].map(|session| node_id(&mut endpoint, &mut now, session));
            assert_eq!(one, two);
            one
        })
        .to_vec();
    assert_ne!(ids[0], ids[1]);
    assert!(ids.iter().all(|id| *id != 0 && *id != u32::MAX), "{ids:x?}");
}

#[test] // P-02: under the mask id and POLL_RAND agree, or there is no reply; a zero mask always matches
fn only_those_whom_the_mask_means_reply() {
    let mut child = Child::begun(config());
    child.peer = child.peer.with_node_id(0xabcd_1234);
    child.spm(1, 0, Options::default());
    let mut ask = |sqn, rand, mask| {
        let poll = Poll {
            rand,
            mask,
            ..poll(sqn, 0)
        };
        hear(&mut child, poll);
        !replies(&mut child).is_empty()
    };
    assert!(ask(1, 0xabcd_1234, u32::MAX));
    assert!(!ask(2, 0xabcd_1235, u32::MAX));
    assert!(ask(3, 0xffff_1234, 0x0000_ffff));
    assert!(!ask(4, 0xffff_1234, 0x8001_0000 | 0x4000_0000));
    assert!(ask(5, 0x1234_5678, 0));
}

#[test] // P-03: later rounds only for those who were there in round 0, asked or not
fn rounds_freeze_the_children() {
    let mut child = Child::begun(config());
    hear(&mut child, poll(7, 1));
    assert_eq!(replies(&mut child), []);
    // Round 0 of this poll asks nobody here.
    let id = 0x5555_5555;
    child.peer = child.peer.with_node_id(id);
    let first = Poll {
        rand: !id,
        mask: u32::MAX,
        ..poll(8, 0)
    };
    hear(&mut child, first);
    assert_eq!(replies(&mut child), []);
    hear(&mut child, poll(8, 1));
    assert_eq!(replies(&mut child), [(8, 1)]);
    hear(&mut child, poll(9, 2));
    assert_eq!(replies(&mut child), []);
    hear(&mut child, poll(8, 2));
    assert_eq!(replies(&mut child), [(8, 2)]);
    let elsewhere = Poll {
        path: Nla::V4(STRANGER),
        ..poll(8, 3)
    };
    hear(&mut child, elsewhere);
    assert_eq!(
        replies(&mut child),
        [],
        "POLL_SQN is scoped by POLL_PATH: that parent's round 0 was not seen"
    );
}

#[test] // P-04: a sub-type nobody here knows, or that is not for us
fn unknown_sub_types_are_ignored() {
    let mut child = Child::begun(config());
    for (sqn, sub_type) in [(1, 1), (2, 2), (3, u16::MAX)] {
        let poll = Poll {
            sub_type,
            ..poll(sqn, 0)
        };
        hear(&mut child, poll);
    }
    assert_eq!(replies(&mut child), []);
    assert_eq!(child.peer.stats(child.now).polls_received, 3);
}

#[test] // P-05: a general poll is answered whatever options it has
fn options_do_not_matter_to_a_general_poll() {
    let mut child = Child::begun(config());
    let options = Options {
        join: Some(Sqn(5)),
        ..Options::default()
    };
    let mut bytes = wire(Body::Poll(poll(1, 0)), options, &[], |_| ());
    // Of a type that nobody has defined; the checksum is left out, as it may be on a POLL.
    let option = bytes.len() - 8;
    assert_eq!(bytes[option], 0x83);
    bytes[option] = 0x80 | 0x55;
    bytes[6..8].fill(0);
    assert!(child.feed(by_group(SOURCE), &bytes));
    assert_eq!(replies(&mut child), [(1, 0)]);
}

#[test] // P-06: one POLR, after a uniformly random wait within POLL_BO_IVL, to POLL_PATH
fn a_reply_comes_once_and_at_random() {
    let mut delays = Vec::new();
    for seed in 0..400 {
        let mut child = Child::seeded(config(), seed);
        let poll = Poll {
            bo_ivl: 100_000,
            ..poll(6, 0)
        };
        hear(&mut child, poll);
        child.pass(ms(30));
        hear(&mut child, poll);
        child.pass(ms(300));
        let sent = child.take();
        assert_eq!(sent.len(), 1, "also if the POLL comes twice");
        assert_eq!(
            (sent[0].summary().as_str(), sent[0].to),
            ("POLR 6 0", to(PARENT))
        );
        assert_eq!(sent[0].options(), Options::default());
        delays.push(sent[0].at);
    }
    assert!(delays.iter().all(|delay| *delay <= ms(100)));
    for quarter in 0..4 {
        let within = |d: &&Duration| (ms(25 * quarter)..ms(25 * quarter + 25)).contains(*d);
        let count = delays.iter().filter(within).count();
        assert!(
            (65..135).contains(&count),
            "{count} of 400 in quarter {quarter}"
        );
    }
}

#[test] // whoever is asked: nothing is sent, and no timer is due for ever
fn who_only_listens_answers_nobody() {
    let mut child = Child::begun(ReceiverConfig {
        listen_only: true,
        dlr: Some(DlrConfig::new(DlrRole::OffTree, PARENT)),
        ..config()
    });
    hear(&mut child, poll(1, 0));
    child.pass(secs(1));
    child.hear(by_unicast(SOURCE), Body::Nak(nak(&[1])), Options::default());
    child.ncf(&[1]);
    child.pass(secs(60));
    assert_eq!(child.summaries(), []);
}

#[test] // P-07: a POLL with another SQN cancels, whether it asks us or not
fn another_poll_cancels_the_reply() {
    let slow = Poll {
        bo_ivl: 1_000_000,
        ..poll(1, 0)
    };
    for other in [
        Poll {
            mask: u32::MAX,
            ..poll(2, 0)
        },
        Poll {
            sub_type: 9,
            ..poll(2, 0)
        },
    ] {
        let mut child = Child::begun(config());
        hear(&mut child, slow);
        child.pass(ms(1));
        child.take();
        hear(&mut child, other);
        child.pass(secs(2));
        assert!(child.take().is_empty());
    }
    let mut child = Child::begun(config());
    hear(&mut child, slow);
    child.pass(secs(2));
    assert_eq!(child.take().len(), 1, "left alone it is sent");
}

#[test] // P-06, hostile: POLLs that want much later replies, or many
fn polls_hold_no_memory_and_cause_no_storm() {
    let mut child = Child::begun(config());
    let held = child.peer.bytes_held();
    for sqn in 1..=100 {
        let poll = Poll {
            bo_ivl: u32::MAX,
            ..poll(sqn, 0)
        };
        hear(&mut child, poll);
    }
    child.pass(secs(29));
    assert!(child.take().len() <= 1);
    let mut child = Child::begun(config());
    for sqn in 1..=10_000 {
        hear(&mut child, poll(sqn, 0));
        child.now += Duration::from_micros(100);
        child.peer.handle_timeout(child.now);
    }
    child.pass(secs(1));
    let sent = child.take();
    assert!((10..=102).contains(&sent.len()), "{}", sent.len());
    assert!(
        sent.windows(2)
            .all(|pair| pair[1].at - pair[0].at >= ms(10))
    );
    assert_eq!(child.peer.bytes_held(), held);
    assert_eq!(child.peer.stats(child.now).polls_received, 10_000);
}

#[test] // P-06, hostile: from other addresses, by unicast, with a path that is no host
fn forged_polls_are_not_answered() {
    let mut child = Child::begun(config());
    let body = |poll| Body::Poll(poll);
    assert!(!child.hear(by_group(STRANGER), body(poll(1, 0)), Options::default()));
    child.hear(by_unicast(SOURCE), body(poll(1, 0)), Options::default());
    for path in [
        Nla::V4(GROUP),
        Nla::V4(Ipv4Addr::BROADCAST),
        Nla::V4(Ipv4Addr::UNSPECIFIED),
        Nla::V6("ff02::1".parse().unwrap()),
        Nla::V6("2001:db8::1".parse().unwrap()),
    ] {
        hear(&mut child, Poll { path, ..poll(2, 0) });
    }
    assert_eq!(replies(&mut child), []);
    hear(&mut child, poll(3, 0));
    assert_eq!(replies(&mut child), [(3, 0)]);
}

/// A source that polls, past its start; and its first POLL.
fn polling() -> (Parent, Poll) {
    let mut parent = Parent::new(|config| config.polling = true);
    parent.pass(ms(1_100));
    let (_, poll) = next_poll(&mut parent, ms(1)).expect("the first poll");
    (parent, poll)
}

/// The next POLL within `limit`, and when it went.
fn next_poll(parent: &mut Parent, limit: Duration) -> Option<(Duration, Poll)> {
    let end = parent.now + limit;
    loop {
        let sent = parent.take();
        for packet in sent {
            if let Body::Poll(poll) = packet.body() {
                assert_eq!(packet.to, Destination::Group(GROUP));
                assert!(packet.router_alert, "G-19");
                return Some((packet.at, poll));
            }
        }
        if parent.now >= end {
            return None;
        }
        parent.pass(ms(1));
    }
}

fn reply(parent: &mut Parent, poll: Poll, hosts: std::ops::Range<u32>) {
    for host in hosts {
        let from = Ipv4Addr::from(0x0a64_0000 + host);
        let (sqn, round) = (poll.sqn, poll.round);
        parent.hear(from, Body::Polr(Polr { sqn, round }));
    }
}

/// OPT_NAK_BO_IVL of the next SPM.
fn advertised(parent: &mut Parent) -> NakBoIvl {
    parent.take();
    parent.pass(ms(1_100));
    let sent = parent.take();
    let spm = sent.iter().find(|s| matches!(s.body(), Body::Spm(_)));
    spm.expect("an SPM").options().nak_bo_ivl.expect("always")
}

#[test] // P-08: SQN by SQN, round by round, each time another string; the mask asks ever more
fn polls_are_numbered_and_open_the_door_wider() {
    let (mut parent, first) = polling();
    assert_eq!((first.round, first.sub_type), (0, 0));
    assert_eq!(first.path, Nla::V4(SOURCE));
    assert!(first.bo_ivl >= 100_000, "large: nothing is known yet");
    let mut polls = vec![first];
    while polls.last().unwrap().mask != 0 {
        let (_, poll) = next_poll(&mut parent, secs(2)).expect("another round");
        polls.push(poll);
    }
    let bits: Vec<_> = polls.iter().map(|poll| poll.mask.count_ones()).collect();
    assert_eq!(bits, [12, 9, 6, 3, 0]);
    let rounds: Vec<_> = polls.iter().map(|p| (p.sqn, p.round)).collect();
    assert_eq!(rounds, (0..5).map(|r| (first.sqn, r)).collect::<Vec<_>>());
    let rands: BTreeSet<_> = polls.iter().map(|poll| poll.rand).collect();
    assert_eq!(rands.len(), 5);
    let (_, next) = next_poll(&mut parent, secs(40)).expect("periodically");
    assert_eq!((next.sqn, next.round), (first.sqn.next(), 0));
}

#[test] // P-09: no POLL within POLL_BO_IVL of another
fn polls_wait_for_their_replies() {
    let (mut parent, first) = polling();
    let mut before = parent.now - parent.start;
    for _ in 0..10 {
        let Some((at, _)) = next_poll(&mut parent, secs(40)) else {
            panic!("polls go on");
        };
        assert!(at - before >= Duration::from_micros(first.bo_ivl.into()) - ms(1));
        before = at;
    }
}

#[test] // P-09: a flood of replies is ended at once by another poll that asks hardly anyone
fn a_flood_of_replies_aborts() {
    let (mut parent, first) = polling();
    reply(&mut parent, first, 0..1_000);
    let (at, abort) = next_poll(&mut parent, ms(1)).expect("at once");
    assert_eq!((abort.sqn, abort.round), (first.sqn.next(), 0));
    assert_eq!(abort.mask, u32::MAX);
    let stats = parent.source.stats(parent.now);
    assert!(stats.polrs_received < 300 && stats.polrs_ignored > 700);
    assert_eq!(stats.population, 0, "nothing was learned");
    let (then, next) = next_poll(&mut parent, secs(10)).expect("later");
    assert!(then - at >= ms(200));
    assert!(next.mask.count_ones() > first.mask.count_ones());
}

#[test] // P-10: the interval that comes from a poll is on SPMs with that poll's SQN; bounds, too
fn many_receivers_are_given_a_longer_interval() {
    let (mut parent, first) = polling();
    assert_eq!(
        advertised(&mut parent).ivl_sqn,
        Sqn(0),
        "no poll is complete"
    );
    let (mut parent, _) = {
        drop(parent);
        polling()
    };
    reply(&mut parent, first, 0..20);
    parent.pass(ms(400));
    let stats = parent.source.stats(parent.now);
    assert_eq!((stats.polrs_received, stats.population), (20, 20 << 12));
    let expected = NakBoIvl {
        ivl: 100_000,
        ivl_sqn: first.sqn,
    };
    assert_eq!(advertised(&mut parent), expected, "NAK_BO_IVL_MAX");
    parent.take();
    parent.pass(ms(1_100));
    let sent = parent.take();
    let range = sent.iter().find_map(|sent| sent.options().nak_bo_rng);
    let range = range.expect("OPT_NAK_BO_RNG");
    assert_eq!((range.min, range.max), (500, 100_000));
}

#[test] // P-10: few receivers leave it to what duplicates tell, which is for everyone
fn few_receivers_change_nothing() {
    let (mut parent, first) = polling();
    let mut poll = first;
    while poll.mask != 0 {
        (_, poll) = next_poll(&mut parent, secs(2)).expect("a round");
    }
    reply(&mut parent, poll, 0..12);
    // The same hosts again count once, and rounds that are over do not count.
    reply(&mut parent, poll, 0..12);
    reply(&mut parent, first, 0..12);
    parent.pass(ms(400));
    assert_eq!(parent.source.stats(parent.now).population, 12);
    assert_eq!(advertised(&mut parent).ivl_sqn, Sqn(0));
}

#[test] // the default: no POLL, no OPT_NAK_BO_RNG
fn nobody_is_polled_unasked() {
    let mut parent = Parent::new(|_| ());
    parent.send(3);
    parent.pass(secs(60));
    let sent = parent.take();
    assert!(
        sent.iter()
            .all(|sent| !matches!(sent.body(), Body::Poll(_)))
    );
    assert!(sent.iter().all(|sent| sent.options().nak_bo_rng.is_none()));
}

#[test] // P-08, P-09: a real group is counted, and its replies never implode
fn a_group_is_counted() {
    let mut net = common::sim(TestNet::seeded(11));
    let rxs: Vec<_> = (0..300)
        .map(|_| net.receiver(pgm_engine::testnet::lan_receiver()))
        .collect();
    let mut config = lan_source();
    config.polling = true;
    let tx = net.source(config);
    net.send_all(tx, ["one", "two"]);
    net.run_for(secs(8));
    let now = net.now();
    let stats = net.endpoint(tx.node).source_stats(now, tx.id).unwrap();
    assert!(
        (150..600).contains(&stats.population),
        "{}",
        stats.population
    );
    let polrs = net.sent_by_all(Kind::Polr);
    assert!(polrs < 256, "{polrs} replies");
    assert_eq!(stats.polrs_received, polrs);
    for rx in rxs {
        assert_eq!(net.count(rx), 2);
    }
}
