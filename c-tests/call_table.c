/*
 * Every call in every state: what it returns, or which errno. Where a TCP socket of Linux can be in the
 * same state the answer is its own, but for what the comments say.
 */
#include "check.h"

/* Results below 0 are errnos; others what the call returned. */
enum { NO_CARE = 1000000 };

enum state {
    FRESH,         /* socket */
    BOUND_GROUP,   /* bind to a group */
    BOUND_LOCAL,   /* bind to INADDR_ANY */
    LISTENING,     /* listen */
    LISTENER_SHUT, /* ... and shutdown(SHUT_RD): bound as before */
    SENDER,        /* connect */
    SENDER_SHUT,   /* ... and shutdown(SHUT_WR) */
    SESSION,       /* accept, nothing to read */
    SESSION_DATA,  /* a message of 5 octets waits */
    SESSION_SHUT,  /* shutdown(SHUT_RD), nothing to read */
    SESSION_ENDED, /* the sender closed, all was read */
    STATES
};

static const char *const state_names[STATES] = {
    "fresh",  "bound to a group",       "bound to INADDR_ANY", "listening", "listener after SHUT_RD",
    "sender", "sender after SHUT_WR",   "session",             "session with data",
    "session after SHUT_RD",            "session that ended",
};

static int listening = -1, transmitter = -1;

/* A session with nothing to read; its sender is `transmitter`. */
static int empty_session(void)
{
    /* One listener for all: a new one would be given the senders that have just closed, too. */
    if (listening == -1)
        listening = listener(1);
    if (transmitter != -1)
        OK(close(transmitter));
    transmitter = sender(1);
    send_text(transmitter, "first");
    int fd = session(listening);
    EXPECT_TEXT(fd, "first");
    return fd;
}

static int make(enum state state)
{
    struct sockaddr_in a = group(0), any = address("0.0.0.0", 0);
    int fd;

    switch (state) {
    case FRESH:
        return pgm_socket(0);
    case BOUND_GROUP:
        fd = pgm_socket(0);
        OK(bind(fd, SA(a), sizeof(a)));
        return fd;
    case BOUND_LOCAL:
        fd = pgm_socket(0);
        OK(bind(fd, SA(any), sizeof(any)));
        return fd;
    case LISTENING:
        return listener(0);
    case LISTENER_SHUT:
        fd = listener(0);
        OK(shutdown(fd, SHUT_RD));
        return fd;
    case SENDER:
        return sender(0);
    case SENDER_SHUT:
        fd = sender(0);
        OK(shutdown(fd, SHUT_WR));
        return fd;
    case SESSION:
        return empty_session();
    case SESSION_DATA:
        fd = empty_session();
        send_text(transmitter, "hello");
        EQUAL(ready(fd, POLLIN, 10000), POLLIN);
        return fd;
    case SESSION_SHUT:
        fd = empty_session();
        OK(shutdown(fd, SHUT_RD));
        return fd;
    default:
        fd = empty_session();
        OK(close(transmitter));
        transmitter = -1;
        EQUAL(ready(fd, POLLIN, 10000) & POLLIN, POLLIN);
        EQUAL(recv(fd, &state, 1, 0), 0);
        return fd;
    }
}

/* ---- the calls ---- */

static long result(long r)
{
    return r == -1 ? -errno : r;
}

static long bind_group(int fd)
{
    struct sockaddr_in a = group(2);
    return result(bind(fd, SA(a), sizeof(a)));
}

static long bind_any(int fd)
{
    struct sockaddr_in a = address("0.0.0.0", 0);
    return result(bind(fd, SA(a), sizeof(a)));
}

static long do_listen(int fd)
{
    return result(listen(fd, 5));
}

static long connect_group(int fd)
{
    struct sockaddr_in a = group(2);
    return result(connect(fd, SA(a), sizeof(a)));
}

static long connect_unicast(int fd)
{
    struct sockaddr_in a = address("127.0.0.1", 7500);
    return result(connect(fd, SA(a), sizeof(a)));
}

static long disconnect(int fd)
{
    struct sockaddr a = {.sa_family = AF_UNSPEC};
    return result(connect(fd, &a, sizeof(a)));
}

static long do_accept(int fd)
{
    OK(fcntl(fd, F_SETFL, O_NONBLOCK));
    return result(accept(fd, NULL, NULL));
}

static long do_send(int fd)
{
    return result(send(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL));
}

static long send_nothing(int fd)
{
    return result(send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL));
}

static long do_sendto(int fd)
{
    struct sockaddr_in a = group(3);
    return result(sendto(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL, SA(a), sizeof(a)));
}

static long do_recv(int fd)
{
    char buffer[16];
    return result(recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT));
}

static long do_peek(int fd)
{
    char buffer[2];
    return result(recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_PEEK));
}

static long shut_rd(int fd)
{
    return result(shutdown(fd, SHUT_RD));
}

static long shut_wr(int fd)
{
    return result(shutdown(fd, SHUT_WR));
}

static long shut_both(int fd)
{
    return result(shutdown(fd, SHUT_RDWR));
}

static long shut_wrong(int fd)
{
    return result(shutdown(fd, 3));
}

static long peer_name(int fd)
{
    struct sockaddr_in a;
    socklen_t len = sizeof(a);
    return result(getpeername(fd, SA(a), &len));
}

static long local_name(int fd)
{
    struct sockaddr_in a;
    socklen_t len = sizeof(a);
    return result(getsockname(fd, SA(a), &len));
}

static long events(int fd)
{
    return ready(fd, POLLIN | POLLPRI | POLLOUT | POLLRDHUP, 0);
}

static long option(int fd, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) == -1 ? -errno : value;
}

static long error_option(int fd)
{
    return option(fd, SO_ERROR);
}

static long accepts_option(int fd)
{
    return option(fd, SO_ACCEPTCONN);
}

static long readable(int fd)
{
    int value = -1;
    return ioctl(fd, FIONREAD, &value) == -1 ? -errno : value;
}

static long unsent(int fd)
{
    int value = -1;
    return ioctl(fd, TIOCOUTQ, &value) == -1 ? -errno : value;
}

static long seek(int fd)
{
    return result((long)lseek(fd, 0, SEEK_CUR));
}

static const struct call {
    const char *name;
    long (*call)(int fd);
    long expected[STATES];
} calls[] = {
#define IN POLLIN
#define OUT POLLOUT
#define END (POLLIN | POLLRDHUP)
    /*                            fresh          bound group    bound any      listening
                                  listener shut  sender         sender shut    session
                                  data           session shut   ended */
    {"bind(group)", bind_group,  {0,             -EINVAL,       -EINVAL,       -EINVAL,
                                  -EINVAL,       -EINVAL,       -EINVAL,       -EINVAL,
                                  -EINVAL,       -EINVAL,       -EINVAL}},
    {"bind(any)", bind_any,      {0,             -EINVAL,       -EINVAL,       -EINVAL,
                                  -EINVAL,       -EINVAL,       -EINVAL,       -EINVAL,
                                  -EINVAL,       -EINVAL,       -EINVAL}},
    /* TCP takes any address then; a group must be told. */
    {"listen", do_listen,        {-EDESTADDRREQ, 0,             -EDESTADDRREQ, 0,
                                  0,             -EISCONN,      -EISCONN,      -EISCONN,
                                  -EISCONN,      -EISCONN,      -EISCONN}},
    {"connect(group)", connect_group,
                                 {0,             -EINVAL,       0,             -EISCONN,
                                  -EINVAL,       -EISCONN,      -EISCONN,      -EISCONN,
                                  -EISCONN,      -EISCONN,      -EISCONN}},
    {"connect(unicast)", connect_unicast,
                                 {-EINVAL,       -EINVAL,       -EINVAL,       -EISCONN,
                                  -EINVAL,       -EISCONN,      -EISCONN,      -EISCONN,
                                  -EISCONN,      -EISCONN,      -EISCONN}},
    /* Nothing to undo is undone, as in TCP; a session cannot be taken back. */
    {"connect(AF_UNSPEC)", disconnect,
                                 {0,             0,             0,             -EOPNOTSUPP,
                                  0,             -EOPNOTSUPP,   -EOPNOTSUPP,   -EOPNOTSUPP,
                                  -EOPNOTSUPP,   -EOPNOTSUPP,   -EOPNOTSUPP}},
    {"accept", do_accept,        {-EINVAL,       -EINVAL,       -EINVAL,       -EAGAIN,
                                  -EINVAL,       -EINVAL,       -EINVAL,       -EINVAL,
                                  -EINVAL,       -EINVAL,       -EINVAL}},
    /* TCP says EPIPE before it is connected, as SEQPACKET does not. */
    {"send", do_send,            {-ENOTCONN,     -ENOTCONN,     -ENOTCONN,     -ENOTCONN,
                                  -ENOTCONN,     1,             -EPIPE,        -EOPNOTSUPP,
                                  -EOPNOTSUPP,   -EOPNOTSUPP,   -EOPNOTSUPP}},
    {"send of nothing", send_nothing,
                                 {-ENOTCONN,     -ENOTCONN,     -ENOTCONN,     -ENOTCONN,
                                  -ENOTCONN,     0,             NO_CARE,       -EOPNOTSUPP,
                                  -EOPNOTSUPP,   -EOPNOTSUPP,   -EOPNOTSUPP}},
    {"sendto", do_sendto,        {-ENOTCONN,     -ENOTCONN,     -ENOTCONN,     -ENOTCONN,
                                  -ENOTCONN,     1,             -EPIPE,        -EOPNOTSUPP,
                                  -EOPNOTSUPP,   -EOPNOTSUPP,   -EOPNOTSUPP}},
    {"recv", do_recv,            {-ENOTCONN,     -ENOTCONN,     -ENOTCONN,     -ENOTCONN,
                                  -ENOTCONN,     -EOPNOTSUPP,   -EOPNOTSUPP,   -EAGAIN,
                                  5,             0,             0}},
    {"recv(MSG_PEEK)", do_peek,  {-ENOTCONN,     -ENOTCONN,     -ENOTCONN,     -ENOTCONN,
                                  -ENOTCONN,     -EOPNOTSUPP,   -EOPNOTSUPP,   -EAGAIN,
                                  2,             0,             0}},
    {"shutdown(SHUT_RD)", shut_rd,
                                 {-ENOTCONN,     -ENOTCONN,     -ENOTCONN,     0,
                                  -ENOTCONN,     0,             0,             0,
                                  0,             0,             0}},
    {"shutdown(SHUT_WR)", shut_wr,
                                 {-ENOTCONN,     -ENOTCONN,     -ENOTCONN,     0,
                                  -ENOTCONN,     0,             0,             0,
                                  0,             0,             0}},
    {"shutdown(SHUT_RDWR)", shut_both,
                                 {-ENOTCONN,     -ENOTCONN,     -ENOTCONN,     0,
                                  -ENOTCONN,     0,             0,             0,
                                  0,             0,             0}},
    {"shutdown(3)", shut_wrong,  {-EINVAL,       -EINVAL,       -EINVAL,       -EINVAL,
                                  -EINVAL,       -EINVAL,       -EINVAL,       -EINVAL,
                                  -EINVAL,       -EINVAL,       -EINVAL}},
    {"getpeername", peer_name,   {-ENOTCONN,     -ENOTCONN,     -ENOTCONN,     -ENOTCONN,
                                  -ENOTCONN,     0,             0,             0,
                                  0,             0,             0}},
    {"getsockname", local_name,  {0,             0,             0,             0,
                                  0,             0,             0,             0,
                                  0,             0,             0}},
    /* TCP adds POLLHUP before it is connected, as UDP does not. */
    {"poll", events,             {OUT,           OUT,           OUT,           0,
                                  END,           OUT,           OUT,           0,
                                  IN,            END,           END}},
    {"SO_ERROR", error_option,   {0,             0,             0,             0,
                                  0,             0,             0,             0,
                                  0,             0,             0}},
    {"SO_ACCEPTCONN", accepts_option,
                                 {0,             0,             0,             1,
                                  0,             0,             0,             0,
                                  0,             0,             0}},
    {"FIONREAD", readable,       {0,             0,             0,             -EINVAL,
                                  0,             0,             0,             0,
                                  5,             0,             0}},
    {"SIOCOUTQ", unsent,         {0,             0,             0,             NO_CARE,
                                  NO_CARE,       0,             0,             0,
                                  0,             0,             0}},
    {"lseek", seek,              {-ESPIPE,       -ESPIPE,       -ESPIPE,       -ESPIPE,
                                  -ESPIPE,       -ESPIPE,       -ESPIPE,       -ESPIPE,
                                  -ESPIPE,       -ESPIPE,       -ESPIPE}},
};

static void describe(char *text, size_t size, long value)
{
    if (value < 0)
        snprintf(text, size, "%s", errno_text((int)-value));
    else
        snprintf(text, size, "%ld", value);
}

int main(void)
{
    int wrong = 0;

    begin(90);
    for (size_t c = 0; c < sizeof(calls) / sizeof(*calls); c++)
        for (int s = 0; s < STATES; s++) {
            char got_text[32], expected_text[32];
            int fd = make((enum state)s);
            long expected = calls[c].expected[s], got = calls[c].call(fd);

            OK(close(fd));
            if (expected == NO_CARE || got == expected)
                continue;
            describe(got_text, sizeof(got_text), got);
            describe(expected_text, sizeof(expected_text), expected);
            fprintf(stderr, "%s, %s: %s, expected %s\n", state_names[s], calls[c].name, got_text,
                    expected_text);
            wrong++;
        }
    if (wrong > 0)
        FAIL("%d of the table's entries are wrong", wrong);
    return 0;
}
