//! Whatever the network does to the packets, the reader gets a prefix of what was sent, then all of it.

use crate::kit::{Rig, ms};
use pgm_engine::num::Sqn;
use pgm_engine::receiver::{Read, ReceiverConfig};
use pgm_engine::wire::{Body, Fragment, Options, Spm, Tpdu, Window};
use proptest::prelude::*;
use std::time::Duration;

/// One TPDU of the stream.
#[derive(Clone, Debug)]
struct Packet {
    fragment: Option<(u32, u32, u32)>,
    payload: Vec<u8>,
}

/// Cut messages into packets with SQNs from 1 on.
fn packets(apdus: &[Vec<u8>], size: usize) -> Vec<Packet> {
    let mut packets = Vec::new();
    for apdu in apdus {
        let first = packets.len() as u32 + 1;
        for (i, part) in apdu.chunks(size).enumerate() {
            let fragment = (first, (i * size) as u32, apdu.len() as u32);
            let fragment = (apdu.len() > size).then_some(fragment);
            packets.push(Packet {
                fragment,
                payload: part.to_vec(),
            });
        }
    }
    packets
}

/// What the network does next.
#[derive(Clone, Debug)]
enum Step {
    /// The source sends so many new packets, of which those with a bit set arrive, in this order.
    Send {
        count: u8,
        arrive: u64,
        reverse: bool,
    },
    /// An old or future packet arrives again.
    Repeat(u16),
    /// The NAKs since the last time are answered as far as the bits say.
    Repair {
        ncf: bool,
        arrive: u64,
    },
    Spm,
    Pass(u16),
    Read(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..20u8, any::<u64>(), any::<bool>())
            .prop_map(|(count, arrive, reverse)| Step::Send { count, arrive, reverse }),
        2 => any::<u16>().prop_map(Step::Repeat),
        3 => (any::<bool>(), any::<u64>()).prop_map(|(ncf, arrive)| Step::Repair { ncf, arrive }),
        1 => Just(Step::Spm),
        3 => (1..60u16).prop_map(Step::Pass),
        3 => (0..20u8).prop_map(Step::Read),
    ]
}

/// A source that never forgets, and what its reader has got.
struct World {
    rig: Rig,
    packets: Vec<Packet>,
    sent: usize,
    got: Vec<Vec<u8>>,
}

impl World {
    fn deliver(&mut self, sqn: usize, repair: bool) {
        let Some(packet) = self
            .packets
            .get(sqn - 1)
            .filter(|_| sqn <= self.sent)
            .cloned()
        else {
            return;
        };
        let fragment = packet.fragment.map(|(first, offset, apdu_len)| Fragment {
            first: self.rig.sqn(first),
            offset,
            apdu_len,
        });
        let options = Options {
            fragment,
            ..Options::default()
        };
        let deliver = if repair {
            Rig::rdata_with
        } else {
            Rig::odata_with
        };
        deliver(&mut self.rig, sqn as u32, 1, options, &packet.payload);
    }

    fn read(&mut self, most: usize) {
        for _ in 0..most {
            match self.rig.read() {
                Some(Read::Apdu(apdu)) => self.got.push(apdu.to_vec()),
                None => return,
                end => panic!("{end:?}"),
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send {
                count,
                arrive,
                reverse,
            } => {
                let new = self.sent + 1..=(self.sent + usize::from(count)).min(self.packets.len());
                self.sent = *new.end();
                let mut arriving: Vec<_> =
                    new.filter(|sqn| arrive >> (sqn % 64) & 1 == 1).collect();
                if reverse {
                    arriving.reverse();
                }
                arriving
                    .into_iter()
                    .for_each(|sqn| self.deliver(sqn, false));
            }
            Step::Repeat(n) => self.deliver(usize::from(n) % self.packets.len() + 1, n % 2 == 0),
            Step::Repair { ncf, arrive } => {
                for nak in self.rig.naks() {
                    if ncf {
                        self.rig.ncf(&nak);
                    }
                    for sqn in nak.into_iter().filter(|sqn| arrive >> (sqn % 64) & 1 == 1) {
                        self.deliver(sqn as usize, true);
                    }
                }
            }
            Step::Spm => self.rig.spm(1, self.sent as u32),
            Step::Pass(time) => self.rig.pass(ms(time.into())),
            Step::Read(most) => self.read(most.into()),
        }
    }
}

fn shifts() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        Just(u32::MAX - 20),
        Just((1 << 31) - 20),
        any::<u32>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_what_was_sent(
        sizes in prop::collection::vec(1..120usize, 1..80),
        steps in prop::collection::vec(step(), 0..120),
        rxw_sqns in 4..8u32,
        rxw_bytes in 100..5000usize,
        shift in shifts(),
        seed in any::<u64>(),
    ) {
        let apdus: Vec<_> = (1u8..).zip(&sizes).map(|(i, size)| vec![i; *size]).collect();
        // Retries enough that nothing is given up: only an advancing trail may lose something here.
        let config = ReceiverConfig {
            nak_ncf_retries: 100_000,
            nak_data_retries: 100_000,
            rxw_sqns: 1 << rxw_sqns,
            rxw_bytes,
            ..ReceiverConfig::default()
        };
        let rig = Rig::seeded(config, seed).shifted(shift);
        let mut world = World { rig, packets: packets(&apdus, 20), sent: 0, got: Vec::new() };
        world.rig.spm(1, 0);
        for step in &steps {
            world.step(step);
            prop_assert!(apdus.starts_with(&world.got));
            let stats = world.rig.stats();
            prop_assert!(stats.packets_buffered <= 1 << rxw_sqns);
        }
        // From now on nothing is lost any more: everything arrives.
        let last = [
            Step::Send { count: 255, arrive: 0, reverse: false },
            Step::Send { count: 255, arrive: 0, reverse: false },
            Step::Spm,
        ];
        last.iter().for_each(|step| world.step(step));
        for _ in 0..2000 {
            world.step(&Step::Pass(50));
            world.step(&Step::Repair { ncf: true, arrive: u64::MAX });
            world.step(&Step::Spm);
            world.step(&Step::Read(255));
            if world.got.len() == apdus.len() {
                break;
            }
        }
        prop_assert_eq!(&world.got, &apdus);
        prop_assert_eq!(world.rig.stats().packets_buffered, 0);
        let end = Options { fin: true, ..Options::default() };
        world.rig.spm_with(1, world.sent as u32, end);
        prop_assert_eq!(world.rig.read(), Some(Read::Fin));
    }

    #[test] // no packet, however strange, panics, hangs or outgrows the limits
    fn strange_packets_do_no_harm(
        packets in prop::collection::vec((0..6u8, any::<[u32; 6]>(), 0..1000usize, any::<[bool; 4]>()), 1..200),
        shift in shifts(),
    ) {
        let config = ReceiverConfig {
            rxw_sqns: 256,
            rxw_bytes: 10_000,
            max_apdu: 50_000,
            ..ReceiverConfig::default()
        };
        let mut rig = Rig::new(config).shifted(shift);
        rig.spm(1, 0);
        rig.odata(1);
        for (kind, numbers, len, flags) in packets {
            // Half of the numbers are near the window, where they do more.
            let number = |i: usize| if flags[i % 4] { rig.sqn(numbers[i] % 600) } else { Sqn(numbers[i]) };
            let fragment = flags[0].then_some(Fragment {
                first: number(2),
                offset: numbers[3] % 3000,
                apdu_len: numbers[4] % 4000,
            });
            let options = Options {
                fragment,
                join: flags[1].then_some(number(5)),
                fin: flags[2] && numbers[0] % 16 == 0,
                syn: flags[3],
                ..Options::default()
            };
            let data = pgm_engine::wire::Data { sqn: number(0), trail: number(1) };
            let body = match kind {
                0 | 1 => Body::Odata(data),
                2 => Body::Rdata(data),
                3 => {
                    let window = Some(Window { trail: number(0), lead: number(1) });
                    let path = crate::kit::PATH.into();
                    Body::Spm(Spm { spm_sqn: Sqn(78 + numbers[2] % 1000), window, path })
                }
                4 => Body::Ncf(rig.nak_body(&numbers)),
                _ => Body::Nak(rig.nak_body(&numbers)),
            };
            let tpdu = Tpdu {
                sport: crate::kit::TSI.sport,
                dport: crate::kit::DPORT,
                gsi: crate::kit::TSI.gsi,
                parity: false,
                var_pktlen: false,
                body,
                options,
                payload: &vec![0; len],
            };
            rig.peer.handle_tpdu(rig.now, &tpdu);
            rig.pass(ms(u64::from(numbers[5] % 50)));
            prop_assert!(rig.peer.bytes_held() <= 10_000 + 1000 + 50_000 + (64 << 10));
            prop_assert!(rig.stats().packets_buffered <= 256);
        }
        rig.pass(Duration::from_secs(60));
        prop_assert!(rig.peer.is_expired(rig.now));
        rig.read_apdus();
        prop_assert!(!rig.peer.is_established() || !matches!(rig.read_end(), Read::Apdu(_)));
    }
}
