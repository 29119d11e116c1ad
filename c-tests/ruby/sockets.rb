# PGM from Ruby: Socket and Addrinfo, with and without waiting, buffered reading, threads, a descriptor sent on.
# Run under the preload library: sockets.rb PROTOCOL, which is 17 (PGM in UDP) or 113 (native).
require 'socket'
require 'timeout'

PROTOCOL = Integer(ARGV.fetch(0))
GROUP = '239.192.77.4'
LIMIT = 20

def is(found, expected, what)
  raise "#{what}: #{found.inspect}, expected #{expected.inspect}" unless found == expected
end

# A name becomes an address of the kind that is wanted.
def address(port)
  list = Addrinfo.getaddrinfo(GROUP, port, :INET, :RDM, PROTOCOL)
  is(list.map { |a| [a.ip_port, a.socktype, a.protocol] }, [[port, Socket::SOCK_RDM, PROTOCOL]], 'addresses')
  list.first
end

def listener(port)
  rx = Socket.new(:INET, :RDM, PROTOCOL)
  rx.setsockopt(:SOCKET, :REUSEADDR, true)
  rx.bind(address(port))
  rx.listen(5)
  rx
end

def sender(port)
  tx = Socket.new(:INET, :RDM, PROTOCOL)
  tx.connect(address(port))
  tx
end

def readable(*sockets)
  ready, = IO.select(sockets, nil, nil, LIMIT)
  raise "nothing to read within #{LIMIT} s" unless ready
  ready.first
end

def blocking
  rx = listener(7901)
  tx = sender(7901)
  is(tx.getsockopt(:SOCKET, :TYPE).int, Socket::SOCK_RDM, 'SO_TYPE')
  is(tx.send('message', 0), 7, 'send')
  is(tx.write("line 1\nline 2\n"), 14, 'write')
  tx.flush
  session, source = rx.accept
  is(source.ip_unpack, tx.local_address.ip_unpack, 'source')
  is(session.recv(4), 'mess', 'first part')
  text, from, flags = session.recvmsg(100)
  is([text, from.ip_unpack, flags], ['age', source.ip_unpack, Socket::MSG_EOR], 'rest')
  is([session.gets, session.gets], ["line 1\n", "line 2\n"], 'lines')
  tx.close
  is(session.read, '', 'end')
  [session, rx].each(&:close)
end

def nonblocking
  rx = listener(7902)
  is(rx.accept_nonblock(exception: false), :wait_readable, 'no session yet')
  tx = sender(7902)
  is(tx.write_nonblock('first'), 5, 'write_nonblock')
  session, = readable(rx).accept_nonblock
  is(readable(session).read_nonblock(100), 'first', 'read_nonblock')
  is(session.recv_nonblock(100, exception: false), :wait_readable, 'nothing yet')
  tx.sendmsg_nonblock('second')
  is(readable(session).readpartial(100), 'second', 'readpartial')
  tx.shutdown(:WR)
  is(readable(session).read_nonblock(100, exception: false), nil, 'end')
  [session, rx, tx].each(&:close)
end

# Sessions in threads, as a threaded server has them.
def threads
  rx = listener(7903)
  workers = 3.times.map { |n| sender(7903).tap { |tx| 10.times { |i| tx.send("#{n}:#{i}\n", 0) } } }
  heard = 3.times.map do
    session, = rx.accept
    Thread.new { session.each_line.to_a }
  end
  workers.each(&:close)
  lines = heard.map(&:value).sort
  is(lines, 3.times.map { |n| 10.times.map { |i| "#{n}:#{i}\n" } }, 'lines of three sessions')
  rx.close
end

Timeout.timeout(60) do
  is(Addrinfo.getaddrinfo('localhost', 7900, nil, :RDM, PROTOCOL).first.ip_address, '127.0.0.1', 'localhost')
  %i[blocking nonblocking threads].each do |test|
    send(test)
    puts "ok #{test}"
    $stdout.flush
  end
end
