//! What the table of options says elsewhere: the manual's section and the rows of the C test.
//! `UPDATE=1 cargo test options_page` rewrites both.

use super::table::{Phases, Row, Type, rows};
use std::fmt::Write;

/// Compare a file of the repository with what it should be, or write it.
fn keep(path: &str, text: &str) {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).expect("writable");
    }
    let on_disk = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(on_disk, text, "run UPDATE=1 cargo test options_page");
}

/// mdoc wants each sentence to begin a line, and lines to be short.
fn sentences(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut begins = true;
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if !begins && line.len() + 1 + word.len() <= 78 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
        begins = word.ends_with('.');
    }
    lines.join("\n")
}

fn when(row: &Row) -> &'static str {
    match row.phases {
        Phases::Any => "at any time",
        Phases::Unconnected => "before connect or listen",
        Phases::Sending => "on a sender, at any time",
        Phases::Sender => "on a sender, before connect",
        Phases::Receiver => "on a receiver, before listen",
        Phases::ReceiverOrSession => "on a receiver, before listen; on a session without effect",
        Phases::Connected => "on a connected sender",
        Phases::Accepted => "on a session",
        Phases::Running => "on a connected sender or a session",
        Phases::Served => "on a connected sender, a listening socket or a session",
    }
}

/// One option as an item of a list.
fn item(row: &Row) -> String {
    let mut text = format!(".It Dv {}", row.symbol);
    match row.value {
        Type::Nothing => {}
        Type::Number { .. } | Type::Boolean => text += " Vt uint32_t",
        Type::Address => text += " Vt struct in_addr",
        Type::Structure(name, _) | Type::Other(name) => write!(text, " Vt {name}").expect("text"),
        Type::Int | Type::Octet => text += " Vt int",
    }
    text.push('\n');
    match (row.set, row.get) {
        (Some(_), Some(_)) => writeln!(text, "Set {}; get at any time.", when(row)),
        (Some(_), None) => writeln!(text, "Set {}.", when(row)),
        (None, Some(_)) => writeln!(text, "Get {}.", when(row)),
        (None, None) => Ok(()),
    }
    .expect("text");
    match row.value {
        Type::Number { least, most } if most < u32::MAX => {
            writeln!(text, "From {least} to {most}.").expect("text");
        }
        Type::Boolean => text += "0 is off, anything else on.\n",
        Type::Address => text += "In network byte order.\n",
        Type::Octet => {
            text += "An\n.Vt unsigned char\nwill do.\n";
        }
        _ => {}
    }
    if !row.default.is_empty() {
        writeln!(text, "Default {}.", row.default).expect("text");
    }
    if !row.help.is_empty() {
        writeln!(text, "{}", sentences(row.help)).expect("text");
    }
    if !row.variable.is_empty() {
        text += "Environment:\n";
        let names: Vec<_> = row.variable.split(", ").collect();
        for (n, name) in names.iter().enumerate() {
            let end = if n + 1 == names.len() { "." } else { "," };
            writeln!(text, ".Ev {name} {end}").expect("text");
        }
    }
    text
}

fn section(title: &str, level: i32) -> String {
    let mut text = format!(".Ss {title}\n.Bl -tag -width Ds\n");
    for row in rows().filter(|row| row.level == level && !row.help.is_empty()) {
        text += &item(row);
    }
    text + ".El\n"
}

#[test]
fn options_page_is_current() {
    let mut text = String::from(
        ".\\\" The table in shim/src/sockopt, rendered by UPDATE=1 cargo test options_page.\n",
    );
    text += &section("Options of level IPPROTO_PGM", crate::socket::IPPROTO_PGM);
    text += &section("Options of level SOL_SOCKET", libc::SOL_SOCKET);
    text += "Others are kept by the kernel.\nThose that are of no use here fail with\n.Er ENOPROTOOPT :\n";
    let absent: Vec<_> = rows()
        .filter(|row| row.level == libc::SOL_SOCKET && row.help.is_empty())
        .collect();
    for (n, row) in absent.iter().enumerate() {
        let end = if n + 1 == absent.len() { "." } else { "," };
        writeln!(text, ".Dv {} {end}", row.symbol).expect("text");
    }
    text += &section("Options of level IPPROTO_IP", libc::IPPROTO_IP);
    text += "Others are remembered if a UDP socket takes them, and have no effect.\n";
    text += &section("Options of level IPPROTO_TCP", libc::IPPROTO_TCP);
    keep("docs/man/options.mdoc", &text);
}

/// `ROW(level, name, number, type, octets, can, phases, least, most, default)`.
fn c_row(row: &Row) -> String {
    let level = match row.level {
        libc::SOL_SOCKET => "SOL_SOCKET",
        libc::IPPROTO_IP => "IPPROTO_IP",
        libc::IPPROTO_TCP => "IPPROTO_TCP",
        _ => "IPPROTO_PGM",
    };
    let (kind, octets) = match row.value {
        Type::Nothing => ("NOTHING", 0),
        Type::Number { .. } => ("NUMBER", 4),
        Type::Boolean => ("BOOLEAN", 4),
        Type::Address => ("ADDRESS", 4),
        Type::Structure(_, octets) => ("STRUCTURE", octets),
        Type::Int => ("INT", 4),
        Type::Octet => ("OCTET", 4),
        Type::Other(_) => ("OTHER", 0),
    };
    let can = match (row.set, row.get) {
        (Some(_), Some(_)) => "SET | GET",
        (Some(_), None) => "SET",
        (None, Some(_)) => "GET",
        (None, None) => "0",
    };
    let phases = match row.phases {
        Phases::Any => "ANY",
        Phases::Unconnected => "UNCONNECTED",
        Phases::Sending => "SENDING",
        Phases::Sender => "SENDER",
        Phases::Receiver => "RECEIVER",
        Phases::ReceiverOrSession => "RECEIVER_OR_SESSION",
        Phases::Connected => "CONNECTED",
        Phases::Accepted => "ACCEPTED",
        Phases::Running => "RUNNING",
        Phases::Served => "SERVED",
    };
    let (least, most) = match row.value {
        Type::Number { least, most } => (least, most),
        _ => (0, u32::MAX),
    };
    let (symbol, number, default) = (row.symbol, row.name, row.default);
    format!(
        "ROW({level}, {symbol}, {number}, {kind}, {octets}, {can}, {phases}, {least}u, {most}u, \"{default}\")\n"
    )
}

#[test]
fn options_page_of_the_c_test_is_current() {
    let mut text = String::from(
        "/* The table in shim/src/sockopt, rendered by UPDATE=1 cargo test options_page. */\n",
    );
    for row in rows() {
        text += &c_row(row);
    }
    keep("c-tests/options.inc", &text);
}
