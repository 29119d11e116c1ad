//! `docs/environment.md` and the manual page's list (`docs/man/environment.mdoc`, see `scripts/check-manual`) are
//! the table of `driver::env`, rendered. `UPDATE=1 cargo test environment_page` rewrites them.
#![cfg(feature = "net")]
#![allow(clippy::unwrap_used)]

use pgm_engine::driver::env::VARIABLES;
use std::fmt::Write;

fn is_current(path: &str, page: &str) {
    let path = format!("{}/../docs/{path}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let on_disk = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(on_disk, page, "run UPDATE=1 cargo test environment_page");
}

#[test]
fn environment_page_is_current() {
    let mut page = String::from(
        "# Environment\n\nDefaults for programs that set no option, read when the first PGM socket of a process is made. A value nobody\n\
         understands makes `socket` fail with `EINVAL` and is named on standard error.\n\n\
         | variable | values | meaning |\n|---|---|---|\n",
    );
    for v in VARIABLES {
        writeln!(page, "| `{}` | {} | {} |", v.name, v.values, v.help).unwrap();
    }
    is_current("environment.md", &page);
}

/// Text as mdoc wants it: a sentence begins a line, lines are short, nothing is taken for a request.
fn mdoc(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('×', "\\(mu");
    let mut out = String::new();
    for sentence in text.split_inclusive(". ") {
        let mut width = 0;
        for word in sentence.split_whitespace() {
            if width > 0 && width + word.len() > 75 {
                out.push('\n');
                width = 0;
            } else if width > 0 {
                out.push(' ');
            }
            if width == 0 && word.starts_with(['.', '\'']) {
                out.push_str("\\&");
            }
            out.push_str(word);
            width += word.len() + 1;
        }
        out.push('\n');
    }
    out
}

#[test]
fn environment_list_of_the_manual_is_current() {
    let mut list = String::from(".Bl -tag -width Ds\n");
    for v in VARIABLES {
        writeln!(list, ".It Ev {}", v.name).unwrap();
        list += &mdoc(v.help);
        writeln!(list, "Values:").unwrap();
        list += &mdoc(&format!("{}.", v.values));
    }
    is_current("man/environment.mdoc", &(list + ".El\n"));
}
