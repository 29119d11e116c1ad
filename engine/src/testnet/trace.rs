//! What was on the wire: a sequence chart for people, a capture for Wireshark.

use super::link::Kind;
use super::{NodeId, node_addr};
use crate::wire::{Body, Options, Tpdu};
use bytes::Bytes;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

/// One packet as sent.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) at: Duration,
    pub(super) from: NodeId,
    /// Source address.
    pub(super) addr: Ipv4Addr,
    pub(super) to: Ipv4Addr,
    pub(super) ttl: u8,
    pub(super) bytes: Bytes,
    /// Nodes it was on its way to, and whether it got there.
    pub(super) fates: Vec<(NodeId, bool)>,
}

/// Most nodes that have a column of their own in the chart.
const COLUMNS: usize = 8;

/// Sequence chart of `records`: a row per packet, a column per node; `*` sends, `>` receives, `x` loses.
pub(super) fn diagram<'a>(records: impl Iterator<Item = &'a Record>, nodes: usize) -> String {
    let mut out = String::from("\n");
    if nodes <= COLUMNS {
        let names: String = (0..nodes)
            .map(|n| format!("{:<6}", format!("n{n}")))
            .collect();
        let _ = writeln!(out, "{:>12}   {names}", "ms");
    }
    for record in records {
        let lost = record.fates.iter().filter(|(_, arrives)| !arrives);
        let _ = write!(out, "{:>12.3}   ", record.at.as_secs_f64() * 1e3);
        if nodes <= COLUMNS {
            let _ = write!(out, "{}", lanes(record, nodes));
        } else {
            let lost: Vec<_> = lost.map(|(n, _)| format!("n{}", n.0)).collect();
            let to = record.fates.len();
            let _ = write!(
                out,
                "n{:<4} to {to:<4} lost {:<3} ",
                record.from.0,
                lost.len()
            );
            if let Some(first) = lost.first() {
                let _ = write!(out, "({first} ..) ");
            }
        }
        let _ = writeln!(out, "{}", describe(&record.bytes));
    }
    out
}

fn lanes(record: &Record, nodes: usize) -> String {
    let mark = |n: usize| {
        let fate = record.fates.iter().find(|(node, _)| node.0 == n);
        match fate {
            _ if record.from.0 == n => '*',
            Some((_, true)) => '>',
            Some((_, false)) => 'x',
            None => '|',
        }
    };
    (0..nodes).map(|n| format!("{:<6}", mark(n))).collect()
}

/// One line about a packet.
fn describe(bytes: &[u8]) -> String {
    let tpdu = match Tpdu::parse(bytes) {
        Ok(tpdu) => tpdu,
        Err(reason) => return format!("{reason}: {} octets", bytes.len()),
    };
    let mut line = format!("{:?} ", Kind::from(&tpdu.body)).to_uppercase();
    let _ = match &tpdu.body {
        Body::Spm(spm) => match spm.window {
            Some(w) => write!(line, "{} window {}..={}", spm.spm_sqn, w.trail, w.lead),
            None => write!(line, "{} no window", spm.spm_sqn),
        },
        Body::Odata(d) | Body::Rdata(d) => {
            write!(
                line,
                "{} trail {} len {}",
                d.sqn,
                d.trail,
                tpdu.payload.len()
            )
        }
        Body::Nak(nak) | Body::Nnak(nak) | Body::Ncf(nak) => {
            let sqns: Vec<_> = nak.sqns().take(8).map(|s| s.to_string()).collect();
            write!(
                line,
                "{}{}",
                sqns.join(" "),
                if nak.list.len() >= 8 { " .." } else { "" }
            )
        }
        Body::Poll(_) | Body::Polr(_) | Body::Spmr | Body::Ack(_) => Ok(()),
    };
    let Options {
        fragment,
        join,
        syn,
        fin,
        rst,
        ..
    } = &tpdu.options;
    if let Some(f) = fragment {
        let _ = write!(line, " part of {} at {}/{}", f.first, f.offset, f.apdu_len);
    }
    if let Some(join) = join {
        let _ = write!(line, " JOIN {join}");
    }
    for (set, name) in [(*syn, " SYN"), (*fin, " FIN"), (rst.is_some(), " RST")] {
        line.push_str(if set { name } else { "" });
    }
    let _ = write!(line, "  [{}]", tpdu.tsi());
    line
}

/// A pcapng file of `records`: raw IPv4, native PGM, losses as packet comments.
pub(super) fn pcapng<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<u8> {
    const LINKTYPE_RAW: u32 = 101;
    const IF_TSRESOL: u16 = 9;
    const OPT_COMMENT: u16 = 1;
    let mut out = Vec::new();
    let section = [
        &0x1A2B_3C4D_u32.to_le_bytes()[..],
        &[1, 0, 0, 0],
        &[0xFF; 8],
    ]
    .concat();
    block(&mut out, 0x0A0D_0D0A, &section);
    let interface = [
        &LINKTYPE_RAW.to_le_bytes()[..],
        &0_u32.to_le_bytes(),
        &option(IF_TSRESOL, &[9]),
    ]
    .concat();
    block(&mut out, 1, &interface);
    for record in records {
        let packet = ipv4(record);
        let len = u32::try_from(packet.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes();
        let nanos = u64::try_from(record.at.as_nanos()).unwrap_or(u64::MAX);
        let (high, low) = ((nanos >> 32) as u32, nanos as u32);
        let mut body = 0_u32.to_le_bytes().to_vec();
        for word in [high.to_le_bytes(), low.to_le_bytes(), len, len] {
            body.extend(word);
        }
        body.extend(&packet);
        pad(&mut body);
        let lost: Vec<_> = record
            .fates
            .iter()
            .filter(|(_, arrives)| !arrives)
            .collect();
        if !lost.is_empty() {
            let names: Vec<_> = lost
                .iter()
                .map(|(n, _)| node_addr(*n).to_string())
                .collect();
            body.extend(option(
                OPT_COMMENT,
                format!("lost at {}", names.join(" ")).as_bytes(),
            ));
        }
        block(&mut out, 6, &body);
    }
    out
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = u32::try_from(body.len() + 12)
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    out.extend(kind.to_le_bytes());
    out.extend(len);
    out.extend(body);
    out.extend(len);
}

/// One option and the end of options.
fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let value = &value[..value.len().min(1024)];
    let mut out = code.to_le_bytes().to_vec();
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    pad(&mut out);
    out.extend([0; 4]);
    out
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

fn ipv4(record: &Record) -> Vec<u8> {
    let total = u16::try_from(record.bytes.len() + 20)
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let mut header = vec![
        0x45, 0, total[0], total[1], 0, 0, 0, 0, record.ttl, 113, 0, 0,
    ];
    header.extend(record.addr.octets());
    header.extend(record.to.octets());
    let sum: u32 = header
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(c[1]))
        .sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    header.extend(&record.bytes);
    header
}
