//! The end that is no orderly one (RFC 3208 §9.8).

use super::Source;
use crate::wire::Rst;
use std::time::Instant;

impl Source {
    /// No more data, and that is an error: where `close` would announce FIN, every SPM carries OPT_RST, the first at
    /// once, for as long as the linger lasts (RFC 3208 §9.8.2 (S-31)). A FIN that was announced already stays:
    /// for who has everything, all is well.
    ///
    /// `rst.no_naks` is for who will not be there any more (S-32): NAKs are ignored from now on.
    pub fn abort(&mut self, now: Instant, rst: Rst) {
        self.rst = Some(rst);
        self.closed = true;
        self.queue.break_off();
        if self.fin_since.is_some() {
            self.announce_end(now);
        } else {
            self.begin_fin(now);
        }
    }

    /// Drop what was accepted and not sent. Only an `abort` can follow: receivers may have half an APDU.
    pub fn discard(&mut self) {
        self.queue.clear();
    }

    /// The next SPM is due at once, and dense ones after it.
    pub(super) fn announce_end(&mut self, now: Instant) {
        self.spm.on_fin(now, self.config.linger_quiet);
        if self.rst.is_some_and(|rst| rst.no_naks) {
            self.spm.rush();
        }
    }
}
