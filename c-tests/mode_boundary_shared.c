/*
 * RM_SET_MESSAGE_BOUNDARY belongs to the socket: every process that has it, by fork, exec or SCM_RIGHTS, sends parts
 * of the one message, however it writes, and sees the same rules.
 */
/* c-tests: variants=asan leaks=yes */
#include "check.h"

enum { PARTS = 2000, PART = 97, SENDERS = 3 };

static int boundary(int fd, uint32_t size)
{
    return setsockopt(fd, IPPROTO_PGM, RM_SET_MESSAGE_BOUNDARY, &size, sizeof(size));
}

static char self[4096], number[16];

/* Run this program anew with the descriptor open, to do `what`. */
static void run(const char *what, int fd)
{
    pid_t pid = (pid_t)OK(fork());

    if (pid == 0) {
        snprintf(number, sizeof(number), "%d", fd);
        OK(fcntl(fd, F_SETFD, 0));
        execl(self, self, what, number, (char *)NULL);
        _exit(99);
    }
    CHILD_PASSED(pid);
}

/* In the new program. */
static int again(const char *what, int fd)
{
    if (strcmp(what, "part") == 0) {
        FAILS(boundary(fd, 3), EBUSY);
        FAILS(send(fd, "too long", 8, 0), EMSGSIZE);
        send_text(fd, "ghi");
    } else if (strcmp(what, "announce") == 0) {
        OK(boundary(fd, 6));
    } else {
        return 98;
    }
    return 0;
}

static void give(int channel, int fd)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {"x", 1};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                            .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&header);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
    EQUAL(sendmsg(channel, &header, 0), 1);
}

static void give_with_others(int channel, int fd)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {"x", 1};
    struct mmsghdr headers[2] = {{{.msg_iov = &part, .msg_iovlen = 1}, 0}};
    struct cmsghdr *c;

    headers[0].msg_hdr.msg_control = control;
    headers[0].msg_hdr.msg_controllen = sizeof(control);
    c = CMSG_FIRSTHDR(&headers[0].msg_hdr);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
    EQUAL(sendmmsg(channel, headers, 1, 0), 1);
}

static int take(int channel)
{
    char control[CMSG_SPACE(sizeof(int))] = {0}, octet;
    struct iovec part = {&octet, 1};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                            .msg_controllen = sizeof(control)};
    int fd;

    EQUAL(recvmsg(channel, &header, 0), 1);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(int));
    return fd;
}

/* A process that was there before the sender: it gets it by SCM_RIGHTS, sends a part, and says so. */
static void stranger(void *arg)
{
    int fd = take(*(int *)arg);

    OK(boundary(fd, 6));
    send_text(fd, "one");
    EQUAL(send(*(int *)arg, "y", 1, 0), 1);
    OK(close(fd));
    fd = take(*(int *)arg);

    FAILS(boundary(fd, 3), EBUSY);
    send_text(fd, "middle ");
    EQUAL(send(*(int *)arg, "y", 1, 0), 1);
}

/* The wrong way round: the parts of others count here, too. */
static void by_turns(int fd)
{
    pid_t pid;

    OK(boundary(fd, 12));
    if ((pid = (pid_t)OK(fork())) == 0) {
        send_text(fd, "abc");
        _exit(0);
    }
    CHILD_PASSED(pid);
    FAILS(boundary(fd, 0), EBUSY);
    FAILS(send(fd, "0123456789", 10, 0), EMSGSIZE);
    send_text(fd, "def");
    run("part", fd);
    EQUAL(dprintf(fd, "%c%s", 'j', "kl"), 3);
    send_text(fd, "alone");
    /* Announced elsewhere. */
    run("announce", fd);
    send_text(fd, "one ");
    EQUAL(writev(fd, &(struct iovec){"by", 2}, 1), 2);
    EQUAL(dprintf(fd, "%s", "alone too"), 9);
}

/* All at once: the parts are whole, and so is the message. */
static void at_once(int fd)
{
    pid_t senders[SENDERS];
    char part[PART];

    OK(boundary(fd, SENDERS * PARTS * PART));
    for (int i = 0; i < SENDERS; i++)
        if ((senders[i] = (pid_t)OK(fork())) == 0) {
            for (int n = 0; n < PARTS; n++) {
                memset(part, 'A' + i, PART);
                EQUAL(send(fd, part, PART, 0), PART);
            }
            _exit(0);
        }
    for (int i = 0; i < SENDERS; i++)
        CHILD_PASSED(senders[i]);
    send_text(fd, "after");
}

static void expect_parts(int fd)
{
    static char message[SENDERS * PARTS * PART + 1];
    int seen[SENDERS] = {0};

    EQUAL(recv(fd, message, sizeof(message), MSG_WAITALL), sizeof(message) - 1);
    for (size_t at = 0; at < sizeof(message) - 1; at += PART) {
        int who = message[at] - 'A';
        CHECK(who >= 0 && who < SENDERS);
        for (int i = 0; i < PART; i++)
            EQUAL(message[at + i], 'A' + who);
        seen[who]++;
    }
    for (int i = 0; i < SENDERS; i++)
        EQUAL(seen[i], PARTS);
}

int main(int argc, char **argv)
{
    int channel[2];
    char octet;

    begin(50);
    if (argc == 3)
        return again(argv[1], atoi(argv[2]));
    CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, channel));
    pid_t pid = child(50, stranger, &channel[1]);
    int rx = listener(0), tx = sender(0);
    send_text(tx, "before");
    int fd = session(rx);
    EXPECT_TEXT(fd, "before");

    /* Nothing but this says that another process has a sender. */
    int other_tx = sender(2), other_rx = listener(2);
    give_with_others(channel[0], other_tx);
    EQUAL(recv(channel[0], &octet, 1, 0), 1);
    FAILS(send(other_tx, "four", 4, 0), EMSGSIZE);
    send_text(other_tx, "two");
    EXPECT_TEXT(session(other_rx), "onetwo");

    OK(boundary(tx, 17));
    send_text(tx, "begin ");
    give(channel[0], tx);
    EQUAL(recv(channel[0], &octet, 1, 0), 1);
    CHILD_PASSED(pid);
    FAILS(send(tx, "not the end", 11, 0), EMSGSIZE);
    send_text(tx, "end.");
    EXPECT_TEXT(fd, "begin middle end.");

    by_turns(tx);
    EXPECT_TEXT(fd, "abcdefghijkl");
    EXPECT_TEXT(fd, "alone");
    EXPECT_TEXT(fd, "one by");
    EXPECT_TEXT(fd, "alone too");
    at_once(tx);
    expect_parts(fd);
    EXPECT_TEXT(fd, "after");

    /* Announced before it is known that the socket will be a listener. */
    int other = pgm_socket(0);
    struct sockaddr_in a = group(1);
    OK(boundary(other, 5));
    OK(bind(other, SA(a), sizeof(a)));
    OK(listen(other, 1));
    int second = sender(1);
    send_text(second, "hello");
    EXPECT_TEXT(session(other), "hello");
    return 0;
}
