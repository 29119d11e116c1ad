//! What each variable means, and what is refused.

use super::super::config::{Linger, SendWindow};
use super::*;
use crate::receiver::DlrRole;

fn with(variables: &[(&str, &str)]) -> (Draft, Vec<String>) {
    let own = variables
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    apply(Draft::default(), &own.collect::<Vec<_>>())
}

fn defaults(variables: &[(&str, &str)]) -> Defaults {
    let (draft, errors) = with(variables);
    assert!(errors.is_empty(), "{errors:?}");
    draft.defaults
}

fn window(variables: &[(&str, &str)]) -> (u32, u32, u32) {
    let SendWindow {
        rate_kbits,
        msecs,
        bytes,
    } = defaults(variables).send.window;
    (rate_kbits, msecs, bytes)
}

#[test]
fn defaults_keep_the_ratio_rule() {
    let SendWindow {
        rate_kbits,
        msecs,
        bytes,
    } = defaults(&[]).send.window;
    assert_eq!(rate_kbits / 8 * msecs, bytes);
}

#[test]
fn rate_window_and_time_follow_each_other() {
    assert_eq!(window(&[("PGM_RATE", "10M")]), (10_000, 8_000, 10_000_000));
    assert_eq!(window(&[("PGM_RATE", "1.5G")]), (1_500_000, 53, 10_000_000));
    assert_eq!(window(&[("PGM_WINDOW", "1M")]), (100_000, 80, 1_000_000));
    assert_eq!(
        window(&[("PGM_WINDOW_MS", "100")]),
        (100_000, 100, 1_250_000)
    );
    let both = [("PGM_WINDOW", "1M"), ("PGM_WINDOW_MS", "1000")];
    assert_eq!(window(&both), (8_000, 1_000, 1_000_000));
    assert_eq!(window(&[("PGM_RATE", "unlimited")]), (0, 0, 10_000_000));
    let slow = [("PGM_RATE", "56k"), ("PGM_PROFILE", "windows")];
    assert_eq!(window(&slow), (56, 1_428_571, 10_000_000));
    assert_eq!(
        window(&[("PGM_PROFILE", "windows")]),
        (56, 1_428_571, 10_000_000)
    );
}

#[test]
fn a_window_that_contradicts_its_rate_is_refused() {
    let all = [
        ("PGM_RATE", "8M"),
        ("PGM_WINDOW", "1M"),
        ("PGM_WINDOW_MS", "1000"),
    ];
    assert_eq!(window(&all), (8_000, 1_000, 1_000_000));
    let (_, errors) = with(&[all[0], all[1], ("PGM_WINDOW_MS", "100")]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("contradict"), "{errors:?}");
}

#[test]
fn every_variable_takes_a_good_value_and_names_what_is_wrong_with_a_bad_one() {
    let good = [
        ("PGM_PROFILE", "windows"),
        ("PGM_LOG", "debug"),
        ("PGM_INTERFACE", "eth0"),
        ("PGM_UDP_ENCAP", "3055:3056"),
        ("PGM_RATE", "1G"),
        ("PGM_WINDOW", "20M"),
        ("PGM_WINDOW_MS", "160"),
        ("PGM_WINDOW_ADV", "25"),
        ("PGM_LATEJOIN", "75%"),
        ("PGM_TTL", "0"),
        ("PGM_LOOPBACK", "off"),
        ("PGM_TOS", "184"),
        ("PGM_MTU", "9000"),
        ("PGM_TPDU_SIZE", "1400"),
        ("PGM_CONGESTION_CONTROL", "pgmcc"),
        ("PGM_SPM_AMBIENT", "30s"),
        ("PGM_SPM_HEARTBEAT_MIN", "10ms"),
        ("PGM_SPM_HEARTBEAT_MAX", "10s"),
        ("PGM_LISTEN_ONLY", "on"),
        ("PGM_UNORDERED", "on"),
        ("PGM_CONTINUE_ON_LOSS", "on"),
        ("PGM_FEC_PARITY_NAKS", "auto"),
        ("PGM_LINGER", "250"),
        ("PGM_NAK_BO_IVL", "500us"),
        ("PGM_FEC", "64:32:0:on"),
        ("PGM_FEC_LENGTHS", "little"),
        ("PGM_NAK_RPT_IVL", "20"),
        ("PGM_NAK_RDATA_IVL", "0.1s"),
        ("PGM_NAK_NCF_RETRIES", "10"),
        ("PGM_NAK_DATA_RETRIES", "10"),
        ("PGM_SPMR_BO_IVL", "1ms"),
        ("PGM_SPMR_SPM_IVL", "1 s"),
        ("PGM_FIRST_SPM_WAIT", "1s"),
        ("PGM_RXW_SQNS", "4096"),
        ("PGM_RXW_BYTES", "4M"),
        ("PGM_MAX_APDU", "16M"),
        ("PGM_MEMORY", "64M"),
        ("PGM_PEER_EXPIRY", "10s"),
        ("PGM_POLL", "auto"),
        ("PGM_DUP_NAK_MAX", "0"),
        ("PGM_NAK_COPY", "on"),
        ("PGM_USE_DLR", "on"),
        ("PGM_DLR", "off-tree"),
        ("PGM_DLR_STORE", "50M"),
        ("PGM_GSO", "off"),
        ("PGM_FAULT_LOSS", "5%"),
        ("PGM_FAULT_SEED", "7"),
        ("PGM_FAULT_FIRST_SQN", "4294967295"),
    ];
    for variable in VARIABLES {
        let (_, value) = good
            .iter()
            .find(|(name, _)| *name == variable.name)
            .expect("in the list");
        let (_, errors) = with(&[(variable.name, value)]);
        assert!(errors.is_empty(), "{errors:?}");
        if variable.name != "PGM_INTERFACE" {
            let (_, errors) = with(&[(variable.name, "-1x")]);
            let expected = format!("{}=-1x: must be {}", variable.name, variable.values);
            assert_eq!(errors, [expected]);
        }
    }
}

#[test]
fn fec_is_what_the_option_takes() {
    let fec = |value| defaults(&[("PGM_FEC", value)]).send.fec;
    assert_eq!(fec("off"), None);
    let expected = FecInfo {
        block_size: 255,
        group_size: 8,
        proactive: 2,
        on_demand: true,
    };
    assert_eq!(
        (fec("255:8:2:on"), fec("0:8:2:on")),
        (Some(expected), Some(expected))
    );
    for bad in [
        "8",
        "255:8:2",
        "255:8:2:on:",
        "8:8:0:on",
        "256:8:2:on",
        "255:6:2:on",
        "255:8:0:off",
        "10:8:3:on",
    ] {
        let (_, errors) = with(&[("PGM_FEC", bad)]);
        assert_eq!(errors.len(), 1, "{bad}");
    }
}

#[test]
fn values_arrive_where_they_belong() {
    let d = defaults(&[
        ("PGM_INTERFACE", "10.0.0.1"),
        ("PGM_UDP_ENCAP", "5555"),
        ("PGM_NAK_BO_IVL", "500us"),
        ("PGM_PEER_EXPIRY", "1.5s"),
        ("PGM_FAULT_LOSS", "0.05"),
        ("PGM_LATEJOIN", "50"),
        ("PGM_LINGER", "250"),
        ("PGM_TTL", " 3 "),
        ("PGM_MTU", ""),
        ("PGM_FAULT_FIRST_SQN", "4294967000"),
    ]);
    assert_eq!(
        d.interface,
        Some(WantedInterface::Addr([10, 0, 0, 1].into()))
    );
    assert_eq!(
        d.encap,
        UdpEncap {
            unicast: 5555,
            multicast: 5555
        }
    );
    assert_eq!(d.listen.receiver.nak_bo_ivl, Duration::from_micros(500));
    assert_eq!(d.listen.receiver.peer_expiry, Duration::from_millis(1500));
    assert!((d.fault_loss - 0.05).abs() < 1e-9);
    assert_eq!(
        (d.send.late_join_percent, d.send.ttl, d.send.mtu),
        (50, 3, 0)
    );
    assert_eq!(d.send.first_sqn, Some(4_294_967_000));
    let dlr = defaults(&[("PGM_DLR_STORE", "50M"), ("PGM_DLR", "upstream")]);
    let dlr = dlr.listen.receiver.dlr.expect("a DLR");
    assert_eq!((dlr.role, dlr.store_bytes), (DlrRole::Upstream, 50_000_000));
    assert_eq!(d.exit_limit, Duration::from_millis(250));
    assert_eq!(d.send.linger_quiet, Duration::from_millis(250));
    for (value, linger) in [
        ("background", Linger::Background),
        ("block", Linger::Block),
        ("off", Linger::Off),
        ("250", Linger::Background),
    ] {
        assert_eq!(defaults(&[("PGM_LINGER", value)]).send.linger, linger);
    }
}

#[test]
fn nonsense_is_refused() {
    let bad = [
        ("PGM_RATE", "10Q"),
        ("PGM_RATE", "100"),
        ("PGM_RATE", "inf"),
        ("PGM_RATE", "99999G"),
        ("PGM_WINDOW", "5G"),
        ("PGM_WINDOW", "0"),
        ("PGM_LATEJOIN", "76"),
        ("PGM_TTL", "256"),
        ("PGM_UDP_ENCAP", "0:1"),
        ("PGM_UDP_ENCAP", "1:2:3"),
        ("PGM_FAULT_LOSS", "5"),
        ("PGM_FAULT_LOSS", "1.2.3"),
        ("PGM_LINGER", "foreground"),
        ("PGM_RXW_SQNS", "1000"),
        ("PGM_PEER_EXPIRY", "1e9s"),
        ("PGM_MEMORY", "31M"),
        ("PGM_MTU", "20"),
        ("PGM_TPDU_SIZE", "100"),
        ("PGM_SPM_AMBIENT", "10us"),
        ("PGM_FAULT_FIRST_SQN", "4294967296"),
    ];
    for variable in bad {
        let (_, errors) = with(&[variable]);
        assert_eq!(errors.len(), 1, "{variable:?} gave {errors:?}");
    }
}

#[test]
fn names_nobody_knows_are_found() {
    let set = ["PGM_RATE", "PGM_RAET", "PGM_TIMER", "PGM_TEST_PORT"]
        .map(|n| (n.to_owned(), String::new()));
    assert_eq!(unknown(&set).collect::<Vec<_>>(), ["PGM_RAET"]);
}
