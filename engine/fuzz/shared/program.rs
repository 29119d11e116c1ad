//! A fuzz input read as a program: numbers, hosts, and packets that are plausible enough to matter.

use pgm_engine::num::{Gsi, Nla, Sqn, Tsi};
use pgm_engine::wire::{
    Ack, Body, Cr, CrBits, Data, Fragment, Nak, NakBoIvl, NakBoRng, Options, ParityPrm, PgmccData,
    PgmccFeedback, Poll, Polr, Rst, Spm, Tpdu, Window,
};
use std::net::Ipv4Addr;

/// Who sends packets, ourselves first.
pub const HOSTS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(10, 0, 0, 2),
    Ipv4Addr::new(10, 0, 0, 3),
    Ipv4Addr::new(10, 0, 0, 4),
];

/// Addresses that should not be where NAKs go, and one that may.
const STRANGE: [Ipv4Addr; 6] = [
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::BROADCAST,
    Ipv4Addr::new(239, 192, 0, 1),
    Ipv4Addr::new(10, 0, 0, 255),
    Ipv4Addr::new(10, 0, 0, 9),
];

/// What is left of the input. Beyond its end everything is 0.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    pub fn octets(&mut self, max: usize) -> Vec<u8> {
        let len = usize::from(self.u16()).min(max).min(self.0.len());
        let (octets, rest) = self.0.split_at(len);
        self.0 = rest;
        octets.to_vec()
    }

    pub fn host(&mut self) -> Ipv4Addr {
        HOSTS[usize::from(self.u8()) % HOSTS.len()]
    }

    /// A number near a base that all packets of an input share: mostly close by, sometimes anywhere.
    fn sqn(&mut self) -> Sqn {
        let how = self.u8();
        let offset = match how >> 6 {
            0 | 1 => u32::from(how & 0x7F),
            2 => u32::from(self.u8()) << (how & 15),
            _ if how & 1 == 0 => u32::from(self.u8()).wrapping_neg(),
            _ => self.u32(),
        };
        Sqn(0xFFFF_FFE0).plus(offset)
    }

    fn nla(&mut self) -> Nla {
        let n = self.u8();
        match n % 16 {
            0..=9 => HOSTS[usize::from(n >> 4) % HOSTS.len()].into(),
            10..=14 => STRANGE[usize::from(n >> 4) % STRANGE.len()].into(),
            _ => Nla::from([u16::from(n); 8]),
        }
    }

    /// Who sends it, whether to the group, and the packet. `ours` is the TSI of the endpoint's own source.
    pub fn packet(&mut self, ours: Tsi, port: u16) -> (Ipv4Addr, bool, Vec<u8>) {
        let (who, from) = (self.u8(), self.host());
        let body = self.body();
        let tsi = match who & 7 {
            0 | 1 => ours,
            n => Tsi {
                gsi: Gsi([n / 2; 6]),
                sport: 4000,
            },
        };
        let options = self.options();
        let payload = vec![who; usize::from(self.u16()) >> (5 + self.u8() % 11)];
        // Mostly a session keeps the address of its source.
        let from = if who & 0x30 == 0 {
            from
        } else {
            HOSTS[usize::from(who & 7) / 2]
        };
        let (sport, dport) = if body.is_upstream() {
            (port, tsi.sport)
        } else {
            (tsi.sport, port)
        };
        let mut packet = Vec::new();
        let parity = who & 0xC0 == 0xC0;
        let tpdu = Tpdu {
            sport,
            dport,
            gsi: tsi.gsi,
            parity,
            var_pktlen: parity && who & 0x08 != 0,
            body,
            options,
            payload: &payload,
        };
        tpdu.emit(&mut packet);
        (from, who & 0x08 == 0 || !tpdu.body.is_upstream(), packet)
    }

    fn body(&mut self) -> Body {
        match self.u8() % 16 {
            0..=2 => {
                let trail = self.sqn();
                let len = self.u16() >> (self.u8() % 16);
                let window = Window {
                    trail,
                    lead: trail.minus(1).plus(len.into()),
                };
                Body::Spm(Spm {
                    spm_sqn: Sqn(self.u8().into()),
                    window: Some(window),
                    path: self.nla(),
                })
            }
            3..=6 => Body::Odata(self.data()),
            7 | 8 => Body::Rdata(self.data()),
            9 | 10 => Body::Nak(self.nak()),
            11 => Body::Ncf(self.nak()),
            12 => match self.u8() % 4 {
                0 => Body::Nnak(self.nak()),
                1 => Body::Ack(Ack {
                    rx_max: self.sqn(),
                    bitmap: self.u32(),
                }),
                2 => Body::Polr(Polr {
                    sqn: self.sqn(),
                    round: self.u8().into(),
                }),
                _ => Body::Spmr,
            },
            13 => Body::Poll(Poll {
                sqn: self.sqn(),
                round: (self.u8() % 4).into(),
                sub_type: (self.u8() % 4).into(),
                path: self.nla(),
                bo_ivl: self.u32(),
                rand: self.u32(),
                mask: self.u32(),
            }),
            _ => Body::Spmr,
        }
    }

    fn data(&mut self) -> Data {
        let sqn = self.sqn();
        Data {
            sqn,
            trail: sqn.minus((self.u8() >> 3).into()),
        }
    }

    fn nak(&mut self) -> Nak {
        let (sqn, count, step) = (self.sqn(), self.u8() % 63, self.u8());
        Nak {
            sqn,
            list: (1..=u32::from(count))
                .map(|n| sqn.plus(n * u32::from(step)))
                .collect(),
            source: self.nla(),
            group: if step & 1 == 0 {
                Nla::from([239, 192, 0, 1])
            } else {
                self.nla()
            },
        }
    }

    /// At most 16 of them, which is what a packet holds.
    fn options(&mut self) -> Options {
        let mut options = Options::default();
        for _ in 0..self.u8() % 5 {
            let o = &mut options;
            match self.u8() % 20 {
                0 | 1 => {
                    let (first, offset, apdu_len) =
                        (self.sqn(), self.u16(), self.u32() >> (self.u8() % 32));
                    o.fragment = Some(Fragment {
                        first,
                        offset: offset.into(),
                        apdu_len,
                    });
                }
                2 | 3 => o.join = Some(self.sqn()),
                4 => {
                    o.nak_bo_ivl = Some(NakBoIvl {
                        ivl: self.u32(),
                        ivl_sqn: Sqn((self.u8() % 4).into()),
                    });
                }
                5 => {
                    o.nak_bo_rng = Some(NakBoRng {
                        max: self.u32(),
                        min: self.u32(),
                    });
                }
                6 => o.redirect = Some(self.nla()),
                7 | 8 => {
                    let bits = self.u8();
                    o.parity_prm = Some(ParityPrm {
                        proactive: bits & 1 != 0,
                        on_demand: bits & 2 != 0,
                        tg_size: 1 + (self.u32() >> (bits >> 3)).min(u32::MAX - 1),
                    });
                }
                9 => o.parity_grp = Some(self.u32().max(1)),
                10 => o.curr_tgsize = Some((self.u32() >> (self.u8() % 32)).max(1)),
                11 => o.nbr_unreach = true,
                12 => o.path_nla = Some(self.nla()),
                13 => o.syn = true,
                14 => o.fin = true,
                15 => {
                    let code = self.u8();
                    o.rst = Some(Rst {
                        no_naks: code & 64 != 0,
                        code: code & 63,
                    });
                }
                16 => {
                    o.cr = Some(Cr {
                        bits: CrBits::default(),
                        lead: self.sqn(),
                        ne_wl: self.u16(),
                        ne_wp: self.u16(),
                        rx_wp: self.u16(),
                        receiver: self.nla(),
                    });
                }
                17 => o.crqst = Some(CrBits::default()),
                18 => {
                    o.pgmcc_data = Some(PgmccData {
                        timestamp: self.u32(),
                        acker: self.nla(),
                    });
                }
                _ => {
                    o.pgmcc_feedback = Some(PgmccFeedback {
                        timestamp: self.u32(),
                        loss_rate: self.u16(),
                        receiver: self.nla(),
                    });
                }
            }
        }
        options
    }
}
