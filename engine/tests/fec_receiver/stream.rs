//! A stream of transmission groups, and a receiver of it.

use crate::kit::{Rig, What, config};
use pgm_engine::fec::Code;
use pgm_engine::num::Sqn;
use pgm_engine::receiver::{Read, ReceiverConfig};
use pgm_engine::wire::{Body, Data, Encoded, FRAGMENT_OCTETS, Fragment, NakBoIvl, Options};
use pgm_engine::wire::{ParityPrm, flag_octet};
use std::collections::BTreeMap;
use std::time::Duration;

/// First SQN of the streams here: begins a group, whatever k is.
pub(crate) const FIRST: u32 = 128;
/// The back-off interval the source advertises.
pub(crate) const BO_IVL: Duration = Duration::from_millis(10);

/// One data packet, SQNs not shifted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packet {
    pub(crate) payload: Vec<u8>,
    /// First SQN, offset, length.
    pub(crate) fragment: Option<(u32, u32, u32)>,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) k: u8,
    pub(crate) packets: BTreeMap<u32, Packet>,
}

/// What its source announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) proactive: bool,
    pub(crate) on_demand: bool,
}

pub(crate) const PROACTIVE: Offer = Offer {
    proactive: true,
    on_demand: false,
};
pub(crate) const ON_DEMAND: Offer = Offer {
    proactive: false,
    on_demand: true,
};
pub(crate) const BOTH: Offer = Offer {
    proactive: true,
    on_demand: true,
};

impl Stream {
    /// `count` packets of one APDU each, of the lengths that `len` gives.
    pub(crate) fn of(k: u8, count: u32, len: impl Fn(u32) -> usize) -> Self {
        let packet = |sqn: u32| Packet {
            payload: (0..len(sqn))
                .map(|i| (sqn as usize * 31 + i * 7) as u8)
                .collect(),
            ..Packet::default()
        };
        let packets = (FIRST..FIRST + count).map(|sqn| (sqn, packet(sqn)));
        Self {
            k,
            packets: packets.collect(),
        }
    }

    /// Equal lengths.
    pub(crate) fn even(k: u8, count: u32) -> Self {
        Self::of(k, count, |_| 40)
    }

    pub(crate) fn start(&self, sqn: u32) -> u32 {
        sqn & !(u32::from(self.k) - 1)
    }

    /// The packets of the group at `start`, in their order.
    pub(crate) fn group(&self, start: u32) -> Vec<(u32, &Packet)> {
        let group = self.packets.range(start..start + u32::from(self.k));
        group.map(|(sqn, packet)| (*sqn, packet)).collect()
    }

    /// OPT_CURR_TGSIZE of the group at `start`, if it is short.
    pub(crate) fn short(&self, start: u32) -> Option<u32> {
        let size = self.group(start).len() as u32;
        (size < u32::from(self.k)).then_some(size)
    }

    /// Parity packet `j` of the group at `start`: flags, options, TSDU.
    pub(crate) fn parity(&self, rig: &Rig, start: u32, j: u8) -> (bool, Options, Vec<u8>) {
        let group = self.group(start);
        let code = Code::new(255, group.len() as u8).unwrap();
        let len = group.iter().map(|(_, p)| p.payload.len()).max().unwrap();
        let is_var = group.iter().any(|(_, p)| p.payload.len() != len);
        let encode = |rows: Vec<Vec<u8>>, len: usize| {
            let mut out = vec![0; len];
            code.encode(j, rows.iter().map(Vec::as_slice), &mut out);
            out
        };
        let tsdu = |(_, p): &(u32, &Packet)| {
            let mut octets = p.payload.clone();
            octets.resize(len, 0);
            if is_var {
                octets.extend((p.payload.len() as u16).to_be_bytes());
            }
            octets
        };
        let tsdu = encode(
            group.iter().map(tsdu).collect(),
            len + if is_var { 2 } else { 0 },
        );
        let flags = |has: fn(&Packet) -> bool| {
            let any = group.iter().any(|(_, p)| has(p));
            let rows = group.iter().map(|(_, p)| vec![flag_octet(has(p))]);
            any.then(|| encode(rows.collect(), 1)[0])
        };
        let any = group.iter().any(|(_, p)| p.fragment.is_some());
        let fragment = |(_, p): &(u32, &Packet)| Fragment::to_octets(rig.fragment_of(p)).to_vec();
        let fragment = any.then(|| {
            let octets = encode(group.iter().map(fragment).collect(), FRAGMENT_OCTETS);
            octets.try_into().unwrap()
        });
        let options = Options {
            curr_tgsize: self.short(start),
            parity_grp: Some(u32::from(j / self.k)).filter(|m| *m > 0),
            encoded: Encoded {
                fragment,
                syn: flags(|p| p.syn),
                fin: flags(|p| p.fin),
            },
            ..Options::default()
        };
        (is_var, options, tsdu)
    }

    /// All APDUs of the stream.
    pub(crate) fn apdus(&self) -> Vec<Vec<u8>> {
        let mut apdus: Vec<Vec<u8>> = Vec::new();
        for packet in self.packets.values() {
            match (packet.fragment, apdus.last_mut()) {
                (Some((_, 1.., _)), Some(apdu)) => apdu.extend(&packet.payload),
                _ => apdus.push(packet.payload.clone()),
            }
        }
        apdus
    }
}

impl Rig {
    /// The session begins with an SPM that tells of `offer`, from a source that is no libpgm.
    pub(crate) fn of_groups(k: u8, offer: Offer) -> Self {
        Self::of_groups_with(config(), k, offer, 0)
    }

    pub(crate) fn of_groups_with(config: ReceiverConfig, k: u8, offer: Offer, shift: u32) -> Self {
        let mut rig = Self::new(config).shifted(shift);
        rig.spm_with(FIRST, FIRST - 1, offering(k, offer));
        rig
    }

    pub(crate) fn fragment_of(&self, packet: &Packet) -> Option<Fragment> {
        packet.fragment.map(|(first, offset, apdu_len)| Fragment {
            first: self.sqn(first),
            offset,
            apdu_len,
        })
    }

    /// The packet `sqn` of `stream`, as ODATA.
    pub(crate) fn data(&mut self, stream: &Stream, sqn: u32) {
        self.data_as(stream, sqn, false, None);
    }

    /// As ODATA or RDATA, with OPT_CURR_TGSIZE or without.
    pub(crate) fn data_as(&mut self, stream: &Stream, sqn: u32, repair: bool, tgsize: Option<u32>) {
        let Some(packet) = stream.packets.get(&sqn) else {
            return;
        };
        let options = Options {
            fragment: self.fragment_of(packet),
            syn: packet.syn,
            fin: packet.fin,
            curr_tgsize: tgsize,
            ..Options::default()
        };
        let data = Data {
            sqn: self.sqn(sqn),
            trail: self.sqn(FIRST),
        };
        let body = if repair {
            Body::Rdata(data)
        } else {
            Body::Odata(data)
        };
        self.feed(body, options, &packet.payload);
    }

    /// Data packets of `sqns` that are not in `lost`.
    pub(crate) fn data_but(
        &mut self,
        stream: &Stream,
        sqns: impl IntoIterator<Item = u32>,
        lost: &[u32],
    ) {
        for sqn in sqns {
            if !lost.contains(&sqn) {
                self.data(stream, sqn);
            }
        }
    }

    /// Parity packet `j` of the group at `start`: pro-active as ODATA, on demand as RDATA.
    pub(crate) fn parity(&mut self, stream: &Stream, start: u32, j: u8, repair: bool) {
        let (is_var, options, tsdu) = stream.parity(self, start, j);
        self.parity_with(stream, start, j, repair, is_var, options, &tsdu);
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn parity_with(
        &mut self,
        stream: &Stream,
        start: u32,
        j: u8,
        repair: bool,
        is_var: bool,
        options: Options,
        tsdu: &[u8],
    ) {
        let sqn = self.sqn(start + u32::from(j % stream.k));
        let data = Data {
            sqn,
            trail: self.sqn(FIRST),
        };
        let body = if repair {
            Body::Rdata(data)
        } else {
            Body::Odata(data)
        };
        self.feed_as([true, is_var], body, options, tsdu);
    }

    /// A parity NCF for `count` packets of the group at `start`.
    pub(crate) fn parity_ncf(&mut self, start: u32, count: u32) {
        let body = Body::Ncf(self.nak_body(&[start + count - 1]));
        self.feed_as([true, false], body, Options::default(), &[]);
    }

    /// Another receiver's parity NAK.
    pub(crate) fn parity_nak(&mut self, start: u32, count: u32) {
        let body = Body::Nak(self.nak_body(&[start + count - 1]));
        self.feed_as([true, false], body, Options::default(), &[]);
    }

    /// All NAKs since the last call: whether for parity, and their SQNs.
    pub(crate) fn all_naks(&mut self) -> Vec<(bool, Vec<u32>)> {
        let sent = std::mem::take(&mut self.sent);
        let naks = sent.into_iter().filter_map(|sent| match sent.what {
            What::Nak(list) => Some((false, list)),
            What::ParityNak(list) => Some((true, list)),
            What::Spmr => None,
        });
        naks.collect()
    }

    /// SQNs of the parity NAKs since the last call; there was no other.
    pub(crate) fn parity_naks(&mut self) -> Vec<u32> {
        let naks = self.all_naks();
        assert!(naks.iter().all(|(parity, _)| *parity), "F-24: {naks:?}");
        naks.into_iter().flat_map(|(_, list)| list).collect()
    }

    /// Everything of `stream` can be read, and nothing else; nothing is missing.
    #[track_caller]
    pub(crate) fn reads_all(&mut self, stream: &Stream) {
        assert_eq!(self.read_apdus(), stream.apdus());
        let stats = self.stats();
        assert_eq!((stats.pending_naks, stats.outstanding_naks), (0, 0));
        assert_eq!(stats.packets_buffered, 0);
    }
}

/// Options of an SPM that tells of `offer`.
pub(crate) fn offering(k: u8, offer: Offer) -> Options {
    Options {
        parity_prm: Some(ParityPrm {
            proactive: offer.proactive,
            on_demand: offer.on_demand,
            tg_size: k.into(),
        }),
        nak_bo_ivl: Some(NakBoIvl {
            ivl: BO_IVL.as_micros() as u32,
            ivl_sqn: Sqn(0),
        }),
        ..Options::default()
    }
}

/// Whatever is read must be data.
pub(crate) fn is_apdu(read: &Read) -> bool {
    matches!(read, Read::Apdu(_))
}
