# PGM from Perl: its socket functions, select, buffered reading, and IO::Socket with names.
# Run under the preload library: sockets.pl PROTOCOL, which is 17 (PGM in UDP) or 113 (native).
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::IP;
use Socket qw(:all);

my $protocol = shift;
my $group    = '239.192.77.3';
alarm 60;
$| = 1;

sub is {
    my ($found, $expected, $what) = @_;
    $found = 'undef' if !defined $found;
    die "$what: '$found', expected '$expected'\n" if $found ne $expected;
}

sub readable {
    my ($socket) = @_;
    IO::Select->new($socket)->can_read(20) or die "nothing to read within 20 s\n";
    return $socket;
}

# The functions of the language.
sub core {
    my $address = pack_sockaddr_in(7801, inet_aton($group));
    socket(my $rx, AF_INET, SOCK_RDM, $protocol) or die "socket: $!";
    setsockopt($rx, SOL_SOCKET, SO_REUSEADDR, pack('l', 1)) or die "setsockopt: $!";
    bind($rx, $address) or die "bind: $!";
    listen($rx, 5)      or die "listen: $!";
    socket(my $tx, AF_INET, SOCK_RDM, $protocol) or die "socket: $!";
    connect($tx, $address) or die "connect: $!";
    is(unpack('l', getsockopt($tx, SOL_SOCKET, SO_TYPE)), SOCK_RDM, 'SO_TYPE');
    is(send($tx, 'message', 0), 7, 'send');
    is(syswrite($tx, "line 1\nline 2\n"), 14, 'syswrite');
    my $source = accept(my $session, readable($rx)) or die "accept: $!";
    is($source, getsockname($tx), 'source');
    is($source, getpeername($session), 'getpeername');
    defined(recv($session, my $text, 4, 0)) or die "recv: $!";
    is($text, 'mess', 'first part');
    is(sysread($session, $text, 100), 3, 'sysread');
    is($text, 'age', 'rest');
    is(scalar <$session>, "line 1\n", 'first line');
    is(scalar <$session>, "line 2\n", 'second line');
    shutdown($tx, SHUT_WR) or die "shutdown: $!";
    is(sysread($session, $text, 100), 0, 'end');
    close($_) or die "close: $!" for $tx, $session, $rx;
}

# The classes, which ask for services and protocols by name.
sub classes {
    my ($class, $port, $name) = @_;
    my @kind = (Type => SOCK_RDM, Proto => $name);
    my $rx = $class->new(LocalAddr => $group, LocalPort => $port, Listen => 5, @kind)
        or die "$class listens: $@";
    my $tx = $class->new(PeerAddr => $group, PeerPort => $port, @kind) or die "$class connects: $@";
    is($rx->protocol, $protocol, 'protocol');
    is($rx->socktype, SOCK_RDM, 'socktype');
    is($tx->peerport, $port, 'peerport');
    $tx->autoflush(1);
    print $tx "printed $_\n" or die "print: $!" for 1 .. 3;
    my $session = readable($rx)->accept or die "accept: $!";
    is($session->peerport, $tx->sockport, 'port of the source');
    $tx->close or die "close: $!";
    is(join('', $session->getlines), "printed 1\nprinted 2\nprinted 3\n", 'lines');
}

# A process for each session, as forking servers do; the parent closes its copy.
sub forking {
    my $address = pack_sockaddr_in(7804, inet_aton($group));
    socket(my $rx, AF_INET, SOCK_RDM, $protocol) or die "socket: $!";
    bind($rx, $address) && listen($rx, 5) or die "listener: $!";
    for my $number (1, 2) {
        socket(my $tx, AF_INET, SOCK_RDM, $protocol) or die "socket: $!";
        connect($tx, $address) or die "connect: $!";
        send($tx, "to child $number\n", 0) or die "send: $!";
        accept(my $session, readable($rx)) or die "accept: $!";
        pipe(my $out, my $in) or die "pipe: $!";
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            print {$in} <$session>;
            close($in);
            exit 0;
        }
        close($session);
        close($in);
        shutdown($tx, SHUT_WR) or die "shutdown: $!";
        is(join('', <$out>), "to child $number\n", 'child');
        waitpid($pid, 0);
        is($?, 0, 'status of the child');
    }
}

core();
print "ok core\n";
is((getprotobyname('pgm'))[2], 113, 'getprotobyname');
my $name = $protocol == 113 ? 'pgm' : 'udp';
classes('IO::Socket::INET', 7802, $name);
print "ok IO::Socket::INET\n";
classes('IO::Socket::IP', 7803, $name);
print "ok IO::Socket::IP\n";
forking();
print "ok fork\n";
