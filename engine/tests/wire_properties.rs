//! Laws of parser and emitter, for packets of every kind and for noise.

mod wire_support;

use pgm_engine::num::{Gsi, Nla, Sqn};
use pgm_engine::wire::{
    Ack, Body, Cr, CrBits, Data, Fragment, NAK_LIST_MAX, Nak, NakBoIvl, NakBoRng, Options,
    ParityPrm, PgmccData, PgmccFeedback, Poll, Polr, Rst, Spm, Tpdu, Window, data_overhead,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wire_support::{packet_of, seal};

/// A [`Tpdu`] with its TSDU.
#[derive(Clone, Debug)]
struct Packet {
    sport: u16,
    dport: u16,
    gsi: [u8; 6],
    parity: bool,
    var_pktlen: bool,
    body: Body,
    options: Options,
    payload: Vec<u8>,
}

impl Packet {
    fn tpdu(&self) -> Tpdu<'_> {
        Tpdu {
            sport: self.sport,
            dport: self.dport,
            gsi: Gsi(self.gsi),
            parity: self.parity,
            var_pktlen: self.var_pktlen,
            body: self.body.clone(),
            options: self.options.clone(),
            payload: &self.payload,
        }
    }

    fn emit(&self) -> Vec<u8> {
        emit(&self.tpdu())
    }
}

fn emit(tpdu: &Tpdu<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    tpdu.emit(&mut out);
    out
}

fn sqn() -> impl Strategy<Value = Sqn> {
    prop_oneof![Just(0), Just(u32::MAX), Just(1 << 31), any::<u32>()].prop_map(Sqn)
}

fn nla() -> impl Strategy<Value = Nla> {
    prop_oneof![
        3 => any::<[u8; 4]>().prop_map(Nla::from),
        1 => any::<[u8; 16]>().prop_map(Nla::from),
    ]
}

fn window() -> impl Strategy<Value = Window> {
    let ahead = prop_oneof![Just(-1), Just(0), Just(i32::MAX), -1..=i32::MAX];
    let lead = |trail: Sqn, ahead: i32| trail.plus(ahead.cast_unsigned());
    (sqn(), ahead).prop_map(move |(trail, ahead)| Window {
        trail,
        lead: lead(trail, ahead),
    })
}

fn spm() -> impl Strategy<Value = Body> {
    (sqn(), option::of(window()), nla()).prop_map(|(spm_sqn, window, path)| {
        Body::Spm(Spm {
            spm_sqn,
            window,
            path,
        })
    })
}

fn data() -> impl Strategy<Value = Data> {
    (sqn(), sqn()).prop_map(|(sqn, trail)| Data { sqn, trail })
}

fn nak() -> impl Strategy<Value = Nak> {
    let list = prop_oneof![Just(0), Just(1), Just(NAK_LIST_MAX), 0..=NAK_LIST_MAX];
    let list = list.prop_flat_map(|len| vec(sqn(), len));
    (sqn(), list, nla(), nla()).prop_map(|(sqn, list, source, group)| Nak {
        sqn,
        list: list.into_iter().collect(),
        source,
        group,
    })
}

fn poll() -> impl Strategy<Value = Body> {
    (sqn(), any::<[u16; 2]>(), nla(), any::<[u32; 3]>()).prop_map(
        |(sqn, [round, sub_type], path, [bo_ivl, rand, mask])| {
            Body::Poll(Poll {
                sqn,
                round,
                sub_type,
                path,
                bo_ivl,
                rand,
                mask,
            })
        },
    )
}

fn body() -> BoxedStrategy<Body> {
    prop_oneof![
        2 => spm(),
        1 => poll(),
        1 => (sqn(), any::<u16>()).prop_map(|(sqn, round)| Body::Polr(Polr { sqn, round })),
        1 => data().prop_map(Body::Odata),
        1 => data().prop_map(Body::Rdata),
        1 => nak().prop_map(Body::Nak),
        1 => nak().prop_map(Body::Nnak),
        1 => nak().prop_map(Body::Ncf),
        1 => Just(Body::Spmr),
        1 => (sqn(), any::<u32>()).prop_map(|(rx_max, bitmap)| Body::Ack(Ack { rx_max, bitmap })),
    ]
    .boxed()
}

fn cr_bits() -> impl Strategy<Value = CrBits> {
    any::<[bool; 3]>().prop_map(|[link, path, receiver]| CrBits {
        link,
        path,
        receiver,
    })
}

fn cr() -> impl Strategy<Value = Cr> {
    (cr_bits(), sqn(), any::<[u16; 3]>(), nla()).prop_map(
        |(bits, lead, [ne_wl, ne_wp, rx_wp], receiver)| Cr {
            bits,
            lead,
            ne_wl,
            ne_wp,
            rx_wp,
            receiver,
        },
    )
}

fn parity_prm() -> impl Strategy<Value = ParityPrm> {
    // RFC 3208 §11.8.1: one bit at least.
    (any::<bool>(), any::<bool>(), 1..u32::MAX).prop_map(|(proactive, on_demand, tg_size)| {
        ParityPrm {
            proactive,
            on_demand: on_demand || !proactive,
            tg_size,
        }
    })
}

fn feedback() -> impl Strategy<Value = PgmccFeedback> {
    (any::<u32>(), any::<u16>(), nla()).prop_map(|(timestamp, loss_rate, receiver)| PgmccFeedback {
        timestamp,
        loss_rate,
        receiver,
    })
}

/// Options of RFC 3208 §9, whatever packet they belong to.
fn base_options() -> impl Strategy<Value = Options> {
    let fragment =
        (sqn(), any::<u32>(), any::<u32>()).prop_map(|(first, offset, apdu_len)| Fragment {
            first,
            offset,
            apdu_len,
        });
    let rst = (any::<bool>(), 0..64u8).prop_map(|(no_naks, code)| Rst { no_naks, code });
    (
        option::of(fragment),
        option::of(sqn()),
        option::of(nla()),
        any::<[bool; 2]>(),
        option::of(rst),
    )
        .prop_map(|(fragment, join, redirect, [syn, fin], rst)| Options {
            fragment,
            join,
            redirect,
            syn,
            fin,
            rst,
            ..Options::default()
        })
}

fn options() -> BoxedStrategy<Options> {
    let bo_ivl = (any::<u32>(), sqn()).prop_map(|(ivl, ivl_sqn)| NakBoIvl { ivl, ivl_sqn });
    let bo_rng = (any::<u32>(), any::<u32>()).prop_map(|(max, min)| NakBoRng { max, min });
    let pgmcc = (any::<u32>(), nla()).prop_map(|(timestamp, acker)| PgmccData { timestamp, acker });
    let implosion = (
        option::of(bo_ivl),
        option::of(bo_rng),
        any::<bool>(),
        option::of(nla()),
    );
    let parity = (
        option::of(parity_prm()),
        option::of(1..u32::MAX),
        option::of(1..u32::MAX),
    );
    let congestion = (
        option::of(cr()),
        option::of(cr_bits()),
        option::of(pgmcc),
        option::of(feedback()),
    );
    (base_options(), implosion, parity, congestion)
        .prop_map(|(base, implosion, parity, congestion)| {
            let mut all = base;
            (
                all.nak_bo_ivl,
                all.nak_bo_rng,
                all.nbr_unreach,
                all.path_nla,
            ) = implosion;
            (all.parity_prm, all.parity_grp, all.curr_tgsize) = parity;
            (all.cr, all.crqst, all.pgmcc_data, all.pgmcc_feedback) = congestion;
            // RFC 3208 §9: at most 16 with OPT_NAK_LIST. These pairs are never on one packet.
            all.syn &= all.rst.is_none();
            all.crqst = all.crqst.filter(|_| all.cr.is_none());
            all
        })
        .boxed()
}

fn packet() -> BoxedStrategy<Packet> {
    let options = prop_oneof![Just(Options::default()), options()];
    let payload = prop_oneof![
        Just(Vec::new()),
        vec(any::<u8>(), 0..40),
        vec(any::<u8>(), 0..1500)
    ];
    (
        any::<[u16; 2]>(),
        any::<[u8; 6]>(),
        any::<[bool; 2]>(),
        body(),
        options,
        payload,
    )
        .prop_map(
            |([sport, dport], gsi, [parity, var_pktlen], mut body, options, payload)| {
                let var_pktlen = parity && var_pktlen; // RFC 3208 §8: not without it
                if let Body::Spm(spm) = &mut body {
                    spm.window = spm.window.filter(|_| !options.nbr_unreach);
                }
                Packet {
                    sport,
                    dport,
                    gsi,
                    parity,
                    var_pktlen,
                    body,
                    options,
                    payload,
                }
            },
        )
        .boxed()
}

/// Damage to a packet.
#[derive(Clone, Debug)]
enum Damage {
    Set(usize, u8),
    Flip(usize),
    Cut(usize),
    Grow(Vec<u8>),
    Remove(usize),
}

fn damage() -> BoxedStrategy<Vec<Damage>> {
    // Headers and options are where parsers err, so most hits go there.
    let place = || prop_oneof![4 => 4..100usize, 1 => 0..1600usize];
    let one = prop_oneof![
        4 => (place(), any::<u8>()).prop_map(|(at, value)| Damage::Set(at, value)),
        4 => (place(), 0..20u8).prop_map(|(at, value)| Damage::Set(at, value)),
        4 => (place(), 0..8usize).prop_map(|(at, bit)| Damage::Flip(at * 8 + bit)),
        1 => place().prop_map(Damage::Cut),
        1 => vec(any::<u8>(), 0..20).prop_map(Damage::Grow),
        1 => place().prop_map(Damage::Remove),
    ];
    vec(one, 1..4).boxed()
}

fn apply(damage: Vec<Damage>, packet: &mut Vec<u8>) {
    for damage in damage {
        match damage {
            Damage::Set(at, value) => packet.iter_mut().skip(at).take(1).for_each(|o| *o = value),
            Damage::Flip(bit) => {
                packet
                    .iter_mut()
                    .skip(bit / 8)
                    .take(1)
                    .for_each(|o| *o ^= 1 << (bit % 8));
            }
            Damage::Cut(len) => packet.truncate(len),
            Damage::Grow(more) => packet.extend(more),
            Damage::Remove(at) if at < packet.len() => drop(packet.remove(at)),
            Damage::Remove(_) => {}
        }
    }
}

/// Contents of the right length for an option of type `kind`, random inside.
fn contents(kind: u8) -> BoxedStrategy<Vec<u8>> {
    let with_address = |before: usize| {
        (vec(any::<u8>(), before), nla()).prop_map(|(before, nla)| match nla {
            Nla::V4(nla) => [&before[..], &[0, 1, 0, 0], &nla.octets()[..]].concat(),
            Nla::V6(nla) => [&before[..], &[0, 2, 0, 0], &nla.octets()[..]].concat(),
        })
    };
    match kind {
        0x01 => vec(any::<u8>(), 12).boxed(),
        0x02 => (1..=NAK_LIST_MAX)
            .prop_flat_map(|len| vec(any::<u8>(), 4 * len))
            .boxed(),
        0x03 | 0x08..=0x0A => vec(any::<u8>(), 4).boxed(),
        0x04 | 0x05 => vec(any::<u8>(), 8).boxed(),
        0x0B | 0x0D..=0x0F | 0x11 => Just(Vec::new()).boxed(),
        0x07 => with_address(0).boxed(),
        0x0C => prop_oneof![vec(any::<u8>(), 4), vec(any::<u8>(), 16)].boxed(),
        0x10 => with_address(12).boxed(),
        0x12 | 0x13 => with_address(4).boxed(),
        _ => vec(any::<u8>(), 0..=251).boxed(),
    }
}

/// Options as others may send them: any order, repeated, unknown, with reserved bits, some wrong.
fn rough_options() -> BoxedStrategy<Vec<u8>> {
    let kind = prop_oneof![8 => 1..0x14u8, 1 => any::<u8>()];
    let right = kind
        .clone()
        .prop_flat_map(|kind| (Just(kind), contents(kind)));
    let wrong = (kind, vec(any::<u8>(), 0..40));
    let option = (prop_oneof![50 => right, 1 => wrong], any::<[u8; 2]>());
    let options = prop_oneof![vec(option.clone(), 1..5), vec(option, 1..18)];
    let chain = options.prop_map(|options| {
        let mut chain = vec![0x00, 4, 0, 0];
        let last = options.len() - 1;
        for (at, ((kind, contents), flags)) in options.into_iter().enumerate() {
            let end = if at == last { 0x80 } else { 0 };
            let len = u8::try_from(contents.len() + 4).expect("short contents");
            chain.extend([(kind & 0x7F) | end, len]);
            chain.extend(flags);
            chain.extend(contents);
        }
        let total = u16::try_from(chain.len())
            .expect("a short chain")
            .to_be_bytes();
        chain[2..4].copy_from_slice(&total);
        chain
    });
    chain.boxed()
}

/// Parsing `bytes` does not panic, and what it yields survives another round.
fn check(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let Ok(tpdu) = Tpdu::parse(bytes) else {
        return Ok(false);
    };
    let again = emit(&tpdu);
    prop_assert_eq!(Tpdu::parse(&again), Ok(tpdu));
    Ok(true)
}

/// Bits of octet 3 that option `kind` defines.
fn defined_bits(kind: u8) -> u8 {
    match kind {
        0x08 => 0x03,
        0x0F => 0x7F,
        0x10 | 0x11 => 0x07,
        _ => 0,
    }
}

/// Octets 0, 2 and 3 of the options in `packet`, whose header is `header` octets long.
fn option_heads(packet: &[u8], header: usize) -> Vec<[u8; 3]> {
    let total = usize::from(u16::from_be_bytes([packet[header + 2], packet[header + 3]]));
    let mut at = header + 4;
    let mut heads = Vec::new();
    while at < header + total {
        heads.push([packet[at], packet[at + 2], packet[at + 3]]);
        at += usize::from(packet[at + 1]);
    }
    assert_eq!(at, header + total, "option lengths add up to the total");
    heads
}

/// Whether option `kind` concerns network elements, on a packet of type `packet_type`.
fn is_network_significant(kind: u8, packet_type: u8) -> bool {
    match kind {
        0x0A => packet_type != 0x04,
        0x02 | 0x04 | 0x05 | 0x07 | 0x08 | 0x0B | 0x0C | 0x10 | 0x11 => true,
        _ => false,
    }
}

/// Failing cases are printed, minimal and complete; no file remembers them.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test] // G-02
    fn what_was_emitted_parses_back(packet in packet()) {
        let bytes = packet.emit();
        prop_assert_eq!(bytes[4] & 0xF0, 0, "version and reserved bits");
        prop_assert_eq!(Tpdu::parse(&bytes), Ok(packet.tpdu()));
    }

    #[test] // G-05, G-07, G-08, G-09, G-12, RFC 3208 §8
    fn emitted_checksums_are_right_and_never_zero(packet in packet()) {
        let bytes = packet.emit();
        let mut sealed = bytes.clone();
        seal(&mut sealed);
        prop_assert_eq!(&bytes[6..8], &sealed[6..8]);
        prop_assert_ne!(&bytes[6..8], [0, 0]);
    }

    #[test] // G-04, G-05, G-06, O-02, O-04, O-05, O-06, RFC 3208 §9.1
    fn emitted_options_are_in_order(packet in packet()) {
        let bytes = packet.emit();
        let bare = Packet { options: Options::default(), payload: Vec::new(), ..packet.clone() };
        let mut header = bare.emit().len();
        if let Body::Nak(nak) | Body::Nnak(nak) | Body::Ncf(nak) = &packet.body
            && !nak.list.is_empty()
        {
            header -= 8 + 4 * nak.list.len();
        }
        let (packet_type, bits) = (bytes[4], bytes[5]);
        prop_assert_eq!(bits & 0x01 != 0, bytes.len() > header + packet.payload.len());
        prop_assert_eq!(bits & 0x40 != 0, packet.var_pktlen);
        prop_assert_eq!(bits & 0x80 != 0, packet.parity);
        if bits & 0x01 == 0 {
            prop_assert_eq!(bits & 0x02, 0);
            return Ok(());
        }
        let heads = option_heads(&bytes, header);
        prop_assert!(heads.len() <= 16);
        for [kind, flags, option_bits] in &heads {
            prop_assert_eq!((flags, option_bits & !defined_bits(kind & 0x7F)), (&0, 0));
        }
        let kinds: Vec<_> = heads.into_iter().map(|[kind, ..]| kind).collect();
        let (last, others) = kinds.split_last().expect("options are announced");
        prop_assert!(last & 0x80 != 0 && others.iter().all(|kind| kind & 0x80 == 0));
        let significant = kinds.iter().map(|kind| is_network_significant(kind & 0x7F, packet_type));
        let significant: Vec<_> = significant.collect();
        prop_assert_eq!(bits & 0x02 != 0, significant.contains(&true));
        prop_assert!(significant.is_sorted_by(|a, b| a >= b), "{:x?}", kinds);
    }

    #[test]
    fn overhead_of_data_is_what_emission_adds(data in data(), packet in packet()) {
        for body in [Body::Odata(data), Body::Rdata(data)] {
            let data = Packet { body, ..packet.clone() };
            prop_assert_eq!(data.emit().len(), data_overhead(&data.options) + data.payload.len());
        }
    }

    #[test]
    fn noise_never_panics(bytes in vec(any::<u8>(), 0..2000)) {
        check(&bytes)?;
    }

    #[test]
    fn sealed_noise_never_panics(kind in 0..16u8, bits in any::<u8>(), noise in vec(any::<u8>(), 0..200)) {
        let mut bytes = packet_of(kind, &noise, &[], &[]);
        bytes[5] = bits;
        seal(&mut bytes);
        check(&bytes)?;
    }

    #[test]
    fn damaged_packets_never_panic(packet in packet(), damage in damage(), sealed in any::<bool>()) {
        let mut bytes = packet.emit();
        apply(damage, &mut bytes);
        if sealed {
            seal(&mut bytes);
        }
        check(&bytes)?;
    }

    #[test]
    fn rough_options_never_panic(
        body in body(),
        options in rough_options(),
        payload in vec(any::<u8>(), 0..20),
        damage in option::weighted(0.3, damage()),
    ) {
        let bare = Packet {
            sport: 1,
            dport: 2,
            gsi: [0; 6],
            parity: false,
            var_pktlen: false,
            body,
            options: Options::default(),
            payload: Vec::new(),
        };
        let (kind, body) = (bare.emit()[4], bare.emit()[16..].to_vec());
        let mut bytes = packet_of(kind, &body, &options, &payload);
        apply(damage.unwrap_or_default(), &mut bytes);
        seal(&mut bytes);
        check(&bytes)?;
    }
}
