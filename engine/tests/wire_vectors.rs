//! Byte-exact packets, both ways. The whole packets were made by hand from RFC 3208 and confirmed
//! with TShark's dissector, so they hold parser and emitter to a third opinion; below them follow the
//! options and addresses they lack.

use pgm_engine::num::{Gsi, Nla, Sqn};
use pgm_engine::wire::{
    Ack, Body, Cr, CrBits, Data, Fragment, Nak, NakBoIvl, NakBoRng, Options, ParityPrm, PgmccData,
    PgmccFeedback, Poll, Polr, Rst, Spm, Tpdu, Window,
};

const GSI: Gsi = Gsi([0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F]);
const SOURCE_PORT: u16 = 1000;
const GROUP_PORT: u16 = 7500;

fn source() -> Nla {
    Nla::from([10, 1, 1, 1])
}

fn group() -> Nla {
    Nla::from([239, 192, 0, 1])
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| str::from_utf8(pair).expect("ASCII"));
    digits
        .map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal"))
        .collect()
}

/// A packet in the direction that `body` implies, without options and payload.
fn tpdu(body: Body) -> Tpdu<'static> {
    let (sport, dport) = match body.is_upstream() {
        true => (GROUP_PORT, SOURCE_PORT),
        false => (SOURCE_PORT, GROUP_PORT),
    };
    Tpdu {
        sport,
        dport,
        gsi: GSI,
        parity: false,
        var_pktlen: false,
        body,
        options: Options::default(),
        payload: &[],
    }
}

fn spm(spm_sqn: u32) -> Body {
    let window = Some(Window {
        trail: Sqn(5),
        lead: Sqn(9),
    });
    Body::Spm(Spm {
        spm_sqn: Sqn(spm_sqn),
        window,
        path: source(),
    })
}

fn data(sqn: u32) -> Data {
    Data {
        sqn: Sqn(sqn),
        trail: Sqn(5),
    }
}

fn nak(list: &[u32]) -> Nak {
    let list = list.iter().map(|&sqn| Sqn(sqn)).collect();
    Nak {
        sqn: Sqn(6),
        list,
        source: source(),
        group: group(),
    }
}

/// `hex` parses to `tpdu`, and `tpdu` emits `hex`, appended to what is there.
#[track_caller]
fn check(hex: &str, tpdu: &Tpdu<'_>) {
    let bytes = bytes(hex);
    assert_eq!(Tpdu::parse(&bytes).as_ref(), Ok(tpdu));
    let mut out = vec![0xEE; 3];
    tpdu.emit(&mut out);
    assert_eq!(out[..3], [0xEE; 3], "what was in the buffer");
    assert_eq!(
        out[3..],
        bytes[..],
        "\n emitted {:02x?}\nexpected {bytes:02x?}",
        &out[3..]
    );
}

#[test]
fn spm_with_a_window() {
    let expected = tpdu(spm(1));
    check(
        concat!(
            "03e81d4c0000af920a0b0c0d0e0f0000",
            "000000010000000500000009000100000a010101"
        ),
        &expected,
    );
}

#[test]
fn spm_with_parity_parameters_and_join() {
    let parity_prm = Some(ParityPrm {
        proactive: true,
        on_demand: true,
        tg_size: 8,
    });
    let options = Options {
        parity_prm,
        join: Some(Sqn(5)),
        ..Options::default()
    };
    let expected = Tpdu {
        options,
        ..tpdu(spm(2))
    };
    check(
        concat!(
            "03e81d4c000324560a0b0c0d0e0f0000",
            "000000020000000500000009000100000a010101000400140808000300000008",
            "8308000000000005"
        ),
        &expected,
    );
}

#[test] // O-17
fn spm_with_reset() {
    let rst = Some(Rst {
        no_naks: true,
        code: 5,
    });
    let options = Options {
        rst,
        ..Options::default()
    };
    let expected = Tpdu {
        options,
        ..tpdu(spm(4))
    };
    check(
        concat!(
            "03e81d4c000120390a0b0c0d0e0f0000",
            "000000040000000500000009000100000a010101000400088f040045"
        ),
        &expected,
    );
}

#[test]
fn odata_of_odd_length() {
    let expected = Tpdu {
        payload: b"hello",
        ..tpdu(Body::Odata(data(7)))
    };
    check(
        concat!(
            "03e81d4c040072c10a0b0c0d0e0f0005",
            "000000070000000568656c6c6f"
        ),
        &expected,
    );
}

#[test] // O-11
fn odata_fragment() {
    let fragment = Some(Fragment {
        first: Sqn(8),
        offset: 0,
        apdu_len: 3000,
    });
    let options = Options {
        fragment,
        ..Options::default()
    };
    let expected = Tpdu {
        options,
        payload: &[b'x'; 20],
        ..tpdu(Body::Odata(data(8)))
    };
    check(
        concat!(
            "03e81d4c040174e50a0b0c0d0e0f0014",
            "00000008000000050004001481100000000000080000000000000bb878787878",
            "78787878787878787878787878787878"
        ),
        &expected,
    );
}

#[test]
fn odata_with_pgmcc() {
    let acker = Nla::from([10, 2, 2, 2]);
    let pgmcc_data = Some(PgmccData {
        timestamp: 12_345,
        acker,
    });
    let options = Options {
        pgmcc_data,
        ..Options::default()
    };
    let expected = Tpdu {
        options,
        payload: &[b'y'; 8],
        ..tpdu(Body::Odata(data(9)))
    };
    check(
        concat!(
            "03e81d4c040102410a0b0c0d0e0f0008",
            "0000000900000005000400149210000000003039000100000a02020279797979",
            "79797979"
        ),
        &expected,
    );
}

#[test] // G-04
fn parity_rdata_of_a_short_group() {
    let options = Options {
        curr_tgsize: Some(4),
        parity_grp: Some(1),
        ..Options::default()
    };
    let expected = Tpdu {
        parity: true,
        var_pktlen: true,
        options,
        payload: &[b'z'; 12],
        ..tpdu(Body::Rdata(data(17)))
    };
    check(
        concat!(
            "03e81d4c05c342b30a0b0c0d0e0f000c",
            "0000001100000005000400140a0800000000000489080000000000017a7a7a7a",
            "7a7a7a7a7a7a7a7a"
        ),
        &expected,
    );
}

#[test] // G-17
fn nak_of_one() {
    let expected = tpdu(Body::Nak(nak(&[])));
    check(
        concat!(
            "1d4c03e80800b7d80a0b0c0d0e0f0000",
            "00000006000100000a01010100010000efc00001"
        ),
        &expected,
    );
}

#[test] // O-12
fn nak_of_three() {
    let expected = tpdu(Body::Nak(nak(&[7, 9])));
    check(
        concat!(
            "1d4c03e8080335a50a0b0c0d0e0f0000",
            "00000006000100000a01010100010000efc0000100040010820c000000000007",
            "00000009"
        ),
        &expected,
    );
}

#[test]
fn ncf_of_one() {
    let expected = tpdu(Body::Ncf(nak(&[])));
    check(
        concat!(
            "03e81d4c0a00b5d80a0b0c0d0e0f0000",
            "00000006000100000a01010100010000efc00001"
        ),
        &expected,
    );
}

#[test] // G-17
fn spmr() {
    let expected = tpdu(Body::Spmr);
    check("1d4c03e80c00aea40a0b0c0d0e0f0000", &expected);
}

#[test] // G-08
fn spmr_whose_sum_is_zero() {
    let expected = Tpdu {
        sport: 52_208,
        ..tpdu(Body::Spmr)
    };
    check("cbf003e80c00ffff0a0b0c0d0e0f0000", &expected);
}

#[test]
fn poll_for_dlrs() {
    let expected = tpdu(Body::Poll(Poll {
        sqn: Sqn(1),
        round: 0,
        sub_type: 1,
        path: source(),
        bo_ivl: 100_000,
        rand: 0xDEAD_BEEF,
        mask: 0,
    }));
    check(
        concat!(
            "03e81d4c01008a600a0b0c0d0e0f0000",
            "0000000100000001000100000a010101000186a0deadbeef00000000"
        ),
        &expected,
    );
}

#[test] // O-15, G-17
fn polr_with_redirect() {
    let redirect = Some(Nla::from([10, 9, 9, 9]));
    let options = Options {
        redirect,
        ..Options::default()
    };
    let expected = Tpdu {
        options,
        ..tpdu(Body::Polr(Polr {
            sqn: Sqn(1),
            round: 0,
        }))
    };
    check(
        concat!(
            "1d4c03e802031e6d0a0b0c0d0e0f0000",
            "000000010000000000040010870c0000000100000a090909"
        ),
        &expected,
    );
}

#[test]
fn ack_with_feedback() {
    let receiver = Nla::from([10, 2, 2, 2]);
    let pgmcc_feedback = Some(PgmccFeedback {
        timestamp: 12_345,
        loss_rate: 0x0200,
        receiver,
    });
    let options = Options {
        pgmcc_feedback,
        ..Options::default()
    };
    let ack = Body::Ack(Ack {
        rx_max: Sqn(9),
        bitmap: u32::MAX,
    });
    let expected = Tpdu {
        options,
        ..tpdu(ack)
    };
    check(
        concat!(
            "1d4c03e80d01dc330a0b0c0d0e0f0000",
            "00000009ffffffff000400149310000000003039000102000a020202"
        ),
        &expected,
    );
}

/// The octets after the body of a packet with `options` are OPT_LENGTH and then `hex`, and back.
#[track_caller]
fn check_options(body: Body, options: Options, hex: &str) {
    let (bare, with_options) = (
        tpdu(body.clone()),
        Tpdu {
            options,
            ..tpdu(body)
        },
    );
    let (mut before, mut out) = (Vec::new(), Vec::new());
    bare.emit(&mut before);
    with_options.emit(&mut out);
    let expected = bytes(hex);
    let total = u8::try_from(expected.len() + 4).expect("short options");
    let expected = [&[0, 4, 0, total], &expected[..]].concat();
    let emitted = &out[before.len()..];
    assert_eq!(
        emitted, expected,
        "\n emitted {emitted:02x?}\nexpected {expected:02x?}"
    );
    assert_eq!(Tpdu::parse(&out), Ok(with_options));
}

#[test] // O-22, RFC 3208 §15.4
fn implosion_options() {
    let nak_bo_ivl = Some(NakBoIvl {
        ivl: 50_000,
        ivl_sqn: Sqn(3),
    });
    let nak_bo_rng = Some(NakBoRng {
        max: 200_000,
        min: 1000,
    });
    let options = Options {
        nak_bo_ivl,
        nak_bo_rng,
        ..Options::default()
    };
    check_options(
        spm(1),
        options,
        "040c00000000c35000000003850c000000030d40000003e8",
    );

    let path_nla = Some(Nla::from([10, 3, 3, 3]));
    let options = Options {
        nbr_unreach: true,
        path_nla,
        ..Options::default()
    };
    check_options(Body::Ncf(nak(&[])), options, "0b0400008c0800000a030303");
}

#[test] // RFC 3208 §9.4, §9.6, §9.7
fn session_options() {
    let syn = Options {
        syn: true,
        ..Options::default()
    };
    check_options(Body::Odata(data(7)), syn, "8d040000");
    let fin = Options {
        fin: true,
        join: Some(Sqn(6)),
        ..Options::default()
    };
    check_options(Body::Rdata(data(7)), fin, "03080000000000068e040000");
}

#[test] // RFC 3208 §11.8.1
fn parity_bits() {
    for (proactive, on_demand, hex) in [
        (true, false, "8808000200000010"),
        (false, true, "8808000100000010"),
    ] {
        let parity_prm = Some(ParityPrm {
            proactive,
            on_demand,
            tg_size: 16,
        });
        check_options(
            spm(1),
            Options {
                parity_prm,
                ..Options::default()
            },
            hex,
        );
    }
}

#[test] // O-21, RFC 3208 §12.7
fn congestion_reports() {
    let bits = |link, path, receiver| CrBits {
        link,
        path,
        receiver,
    };
    for (bits, octet) in [
        (bits(true, false, false), "04"),
        (bits(false, true, false), "02"),
        (bits(false, false, true), "01"),
    ] {
        let crqst = Options {
            crqst: Some(bits),
            ..Options::default()
        };
        check_options(spm(1), crqst, &format!("910400{octet}"));

        let receiver = Nla::from([10, 4, 4, 4]);
        let cr = Cr {
            bits,
            lead: Sqn(9),
            ne_wl: 1,
            ne_wp: 2,
            rx_wp: 0xFFFF,
            receiver,
        };
        let hex = format!("901800{octet}0000000900010002ffff0000000100000a040404");
        check_options(
            Body::Nak(nak(&[])),
            Options {
                cr: Some(cr),
                ..Options::default()
            },
            &hex,
        );
    }
}

#[test] // RFC 3208 §11.8.3: network-significant, hence first, but not on ODATA
fn current_group_size_by_packet() {
    let options = Options {
        curr_tgsize: Some(4),
        join: Some(Sqn(5)),
        ..Options::default()
    };
    check_options(
        Body::Odata(data(7)),
        options.clone(),
        "03080000000000058a08000000000004",
    );
    check_options(
        Body::Rdata(data(7)),
        options,
        "0a080000000000048308000000000005",
    );
}

#[test] // G-23, RFC 3208 §8: AFI 2 with sixteen octets
fn ipv6_addresses() {
    let path: Nla = "fd00::1".parse().expect("an address");
    let spm = tpdu(Body::Spm(Spm {
        spm_sqn: Sqn(1),
        window: None,
        path,
    }));
    let mut out = Vec::new();
    spm.emit(&mut out);
    let body = "00000001000000008000000000020000fd000000000000000000000000000001";
    assert_eq!(out[16..], bytes(body));
    assert_eq!(Tpdu::parse(&out), Ok(spm));

    let redirect = Options {
        redirect: Some(path),
        ..Options::default()
    };
    let polr = Body::Polr(Polr {
        sqn: Sqn(1),
        round: 0,
    });
    check_options(
        polr,
        redirect,
        "8718000000020000fd000000000000000000000000000001",
    );
    let path_nla = Options {
        path_nla: Some(path),
        ..Options::default()
    };
    let hex = "8c140000fd000000000000000000000000000001";
    check_options(Body::Ncf(nak(&[])), path_nla, hex);
}
