//! How sources and listeners of a link begin.

use super::{Context, Key, Link, Listener, Sender, give_name};
use crate::driver::carrier::Interface;
use crate::driver::config::{FecInfo, ListenOptions, SendOptions};
use crate::driver::pair::Role;
use crate::driver::private::EngineFd;
use crate::driver::unix::Inbox;
use crate::driver::{Handle, Mode, SenderInfo, Target, log};
use crate::endpoint::{ListenConfig, SourceId};
use crate::log_line;
use crate::num::{Sqn, Tsi};
use crate::receiver::{DlrRole, ReceiverConfig, Subnet};
use crate::source::{Fec, SourceConfig};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// TSIs tried when the host has one already.
const TSI_TRIES: usize = 16;

/// Each sender can have so much memory at least: there are no more senders than that allows.
const SENDER_OCTETS: usize = 64 << 10;

impl Link {
    pub(in crate::driver) fn connect(
        &mut self,
        target: &Target,
        end: EngineFd,
        options: &SendOptions,
        cx: &mut Context,
    ) -> io::Result<SenderInfo> {
        if cx.sent.holders() >= cx.sent.octets() / SENDER_OCTETS {
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        if cx.inbox.is_none() {
            cx.inbox = Some(Inbox::new()?);
        }
        let iface = self.carrier.route(*target.group.ip(), options.interface)?;
        let (id, tsi) = self.open_source(target.group, &iface, options, cx)?;
        let (key, mode, fd) = (Key::Sender(id), target.mode, end.as_raw_fd());
        let info = SenderInfo {
            id: self.handle(key),
            local: SocketAddrV4::new(iface.addr, tsi.sport),
            tsi,
            max_tpdu: self.carrier.max_tpdu(&iface, options),
            room: cx.rooms.open(),
        };
        let token = self.token(key);
        let sender = Sender::new(&cx.epoll, id, mode, options.linger, end, info.room, token);
        let sender = sender.inspect_err(|_| {
            self.drop_source(id);
            cx.rooms.close(info.room);
        })?;
        self.senders.insert(id, sender);
        let native = self.carrier.is_native();
        give_name(
            fd,
            Role::Sender,
            mode,
            native,
            info.local,
            target.group,
            info.id,
        );
        log_line!(
            log::Level::Info,
            "source {tsi}: began, {} from {}, interface {}",
            target.group,
            iface.addr,
            iface.name
        );
        Ok(info)
    }

    /// A source with a TSI that nobody on this host has, and that stays (RFC 3208 §3.1 (G-15)).
    fn open_source(
        &mut self,
        group: SocketAddrV4,
        iface: &Interface,
        options: &SendOptions,
        cx: &mut Context,
    ) -> io::Result<(SourceId, Tsi)> {
        let max_tpdu = self.carrier.max_tpdu(iface, options);
        for _ in 0..TSI_TRIES {
            let tsi = match options.source_port {
                None => Tsi {
                    gsi: cx.gsi,
                    sport: cx.rng.u16(1..),
                },
                // The same port again must be another session: an earlier one may not be over for everyone.
                Some(port) => Tsi {
                    gsi: crate::driver::random_gsi()?,
                    sport: port.get(),
                },
            };
            if self.endpoint.owns(tsi) {
                continue;
            }
            let config = SourceConfig {
                max_tpdu,
                first_sqn: Sqn(options.first_sqn.unwrap_or_else(|| cx.rng.u32(..))),
                ..source_config(tsi, group, iface.addr, options)
            };
            let id = self.endpoint.open_source(Instant::now(), config);
            let (ip, port) = (*group.ip(), group.port());
            match self.carrier.open_source(id, tsi, ip, port, iface, options) {
                Ok(()) => return Ok((id, tsi)),
                Err(e) => {
                    self.endpoint.remove_source(id);
                    if e.kind() != io::ErrorKind::AddrInUse {
                        return Err(e);
                    }
                }
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    pub(super) fn drop_source(&mut self, id: SourceId) {
        self.endpoint.remove_source(id);
        self.carrier.close_source(id);
    }

    pub(in crate::driver) fn listen(
        &mut self,
        target: &Target,
        end: EngineFd,
        options: ListenOptions,
        cx: &mut Context,
    ) -> io::Result<Handle> {
        let Target { mode, group, .. } = *target;
        let ifaces = self.interfaces(*group.ip(), &options.interfaces)?;
        self.carrier.join(*group.ip(), group.port(), &ifaces)?;
        let mut receiver = options.receiver;
        if let Some(iface) = ifaces.first() {
            receiver.nla = iface.addr;
        }
        // Octets without boundaries have no meaning but in their order.
        receiver.unordered &= mode == Mode::Message;
        self.settle_place(&mut receiver, &ifaces);
        let config = ListenConfig {
            group: *group.ip(),
            dport: group.port(),
            receiver,
        };
        let id = self.endpoint.listen(config);
        let (key, fd) = (Key::Listener(id), end.as_raw_fd());
        let token = self.token(key);
        match Listener::new(&cx.epoll, mode, group, ifaces.clone(), end, token) {
            Ok(listener) => self
                .listeners
                .insert(id, listener.with_backlog(options.backlog)),
            Err(e) => {
                self.endpoint.close_listener(id);
                self.carrier.leave(*group.ip(), group.port(), &ifaces);
                return Err(e);
            }
        };
        let unspecified = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        give_name(
            fd,
            Role::Listener,
            mode,
            self.carrier.is_native(),
            group,
            unspecified,
            self.handle(key),
        );
        for iface in &ifaces {
            log_line!(
                log::Level::Info,
                "listener {group}: began, interface {}",
                iface.name
            );
        }
        Ok(self.handle(key))
    }

    /// What a receiver has to know of its place in the network.
    fn settle_place(&mut self, receiver: &mut ReceiverConfig, ifaces: &[Interface]) {
        let subnet = |iface: &Interface| Subnet {
            addr: iface.addr,
            prefix: iface.prefix,
        };
        receiver.subnets = ifaces.iter().map(subnet).collect();
        let (Some(dlr), Some(iface)) = (&mut receiver.dlr, ifaces.first()) else {
            return;
        };
        dlr.nla = iface.addr;
        if dlr.role == DlrRole::Upstream {
            let opened = self.carrier.open_as_source();
            receiver.as_source = opened.is_ok();
            if let Err(e) = opened {
                log_line!(
                    log::Level::Warn,
                    "local repairs go out with our own address, so only receivers with PGM_USE_DLR take them: {e}"
                );
            }
        }
    }
}

fn source_config(
    tsi: Tsi,
    group: SocketAddrV4,
    nla: Ipv4Addr,
    options: &SendOptions,
) -> SourceConfig {
    let window = options.window;
    SourceConfig {
        rate: (window.rate_kbits > 0).then(|| u64::from(window.rate_kbits) * 1000 / 8),
        congestion_control: options.congestion_control,
        window_bytes: window.bytes.into(),
        window_ivl: Duration::from_millis(window.msecs.into()),
        window_adv_percent: options.adv_percent,
        late_join_percent: options.late_join_percent,
        ambient_spm_ivl: options.spm.ambient,
        ihb_min: options.spm.heartbeat_min,
        ihb_max: options.spm.heartbeat_max,
        fec: options.fec.and_then(|info| fec(info, options)),
        linger_quiet: options.linger_quiet,
        linger_max: options.linger_max,
        polling: options.polling,
        dup_nak_max: options.dup_nak_max,
        ..SourceConfig::new(tsi, group.port(), *group.ip(), nla)
    }
}

/// What `info`, which is valid, asks of a source.
fn fec(info: FecInfo, options: &SendOptions) -> Option<Fec> {
    Some(Fec {
        n: info.block_size.try_into().ok()?,
        k: info.group_size,
        proactive: info.proactive.try_into().ok()?,
        on_demand: info.on_demand,
        little_endian: options.fec_little_endian,
    })
}
