//! Rates, delays, packet sizes and windows far from what a LAN has: all arrives and ends in order.

mod common;

use common::*;
use pgm_engine::source::SourceConfig;
use pgm_engine::testnet::{Link, TestNet, lan_receiver, lan_source};

/// Two receivers get everything, whatever the seed.
fn transfer(link: Link, config: &SourceConfig, sent: &[Vec<u8>]) {
    for seed in 0..3 {
        let mut net = sim(TestNet::seeded(seed).links(link));
        let receivers = net.receivers([(); 2].map(|()| lan_receiver()));
        let tx = net.source(config.clone());
        net.send_all(tx, sent);
        net.close(tx);
        net.run_until_idle();
        net.run_for(secs(60));
        for rx in receivers {
            assert_all_and_fin(&net, rx, sent);
        }
    }
}

fn link(latency_us: u64, jitter_us: u64, loss: f64) -> Link {
    Link {
        latency: us(latency_us),
        jitter: us(jitter_us),
        loss,
        burst: None,
        duplicates: 0.02,
        bottleneck: None,
    }
}

/// A window of `millis` at `rate` octets per second.
fn source(rate: u64, millis: u64) -> SourceConfig {
    SourceConfig {
        rate: Some(rate),
        window_bytes: rate * millis / 1000,
        window_ivl: ms(millis),
        ..lan_source()
    }
}

fn of_size(max_tpdu: usize) -> SourceConfig {
    SourceConfig {
        max_tpdu,
        ..lan_source()
    }
}

#[test]
fn a_delay_of_100_ms_and_5_percent_loss() {
    let link = link(100_000, 1000, 0.05);
    transfer(link, &source(1_000_000, 2000), &messages(1, 2000, 1000));
    transfer(link, &lan_source(), &messages(2, 5000, 1000));
}

#[test]
fn packets_overtake_a_hundred_others() {
    let sent = messages(1, 3000, 1000);
    transfer(link(100, 60_000, 0.02), &source(2_000_000, 1000), &sent);
}

#[test]
fn messages_of_one_octet() {
    transfer(link(100, 100, 0.05), &lan_source(), &messages(1, 50_000, 1));
}

#[test]
fn a_rate_of_56_kbit_per_second() {
    for millis in [1_428_571, 800] {
        let sent = messages(1, 60, 1000);
        transfer(link(1000, 100, 0.1), &source(7000, millis), &sent);
    }
}

#[test]
fn packets_of_548_and_of_8972_octets() {
    let link = link(200, 100, 0.1);
    transfer(link, &of_size(548), &mixed(1, 100, 50_000));
    transfer(link, &of_size(8972), &mixed(2, 100, 200_000));
}

#[test]
fn a_window_of_20_packets() {
    let sent = messages(1, 2000, 1000);
    transfer(link(200, 100, 0.05), &source(1_000_000, 20), &sent);
}
