/*
 * PGM_CONTINUE_ON_LOSS: the receiver stands still while the sender's tiny window moves on. Its session
 * goes on all the same; recvmsg tells where something is missing and how much, recv just goes on. A
 * gap at the very end is told with the end.
 */
/* c-tests: time=100 */
#include "check.h"

enum { MESSAGES = 40000, SIZE = 1000 };

static enum way { RECVMSG, RECV, RECVMMSG, TINY_CONTROL, WAYS } way;

static void transmit(void *arg)
{
    /* 800 Mbit/s and 1 ms: nothing can be repaired for longer. */
    struct pgm_send_window window = {800000, 0, 100000};
    struct sockaddr_in a = group((int)way);
    int *pipes = arg, fd = pgm_socket(0);
    char message[SIZE];

    OK(setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    hear(pipes[0]);
    OK(connect(fd, SA(a), sizeof(a)));
    for (uint32_t i = 0; i < MESSAGES; i++) {
        fill(message, SIZE, i);
        memcpy(message, &i, sizeof(i));
        EQUAL(send(fd, message, SIZE, 0), SIZE);
        if (i == 0)
            hear(pipes[0]); /* the receiver has its session and stands still */
    }
    tell(pipes[3]);
}

/* One message, and how many packets were lost before it. */
static ssize_t take(int fd, char *message, uint32_t *lost)
{
    static union {
        char room[CMSG_SPACE(sizeof(struct pgm_gap))];
        struct cmsghdr align;
    } control;
    struct iovec part = {message, SIZE + 1};
    struct mmsghdr one = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
    struct msghdr *header = &one.msg_hdr;
    ssize_t n;

    *lost = 0;
    if (way == RECV)
        return OK(recv(fd, message, SIZE + 1, 0));
    header->msg_control = control.room;
    header->msg_controllen = way == TINY_CONTROL ? 16 : sizeof(control);
    if (way == RECVMMSG) {
        EQUAL(recvmmsg(fd, &one, 1, 0, NULL), 1);
        n = one.msg_len;
    } else {
        n = OK(recvmsg(fd, header, 0));
    }
    if (way == TINY_CONTROL) {
        EQUAL(header->msg_controllen, 0);
        *lost = (header->msg_flags & MSG_CTRUNC) != 0;
        return n;
    }
    CHECK((header->msg_flags & MSG_CTRUNC) == 0);
    struct cmsghdr *c = CMSG_FIRSTHDR(header);
    if (c != NULL) {
        struct pgm_gap gap;
        EQUAL(c->cmsg_level, IPPROTO_PGM);
        EQUAL(c->cmsg_type, PGM_GAP);
        EQUAL(c->cmsg_len, CMSG_LEN(sizeof(gap)));
        memcpy(&gap, CMSG_DATA(c), sizeof(gap));
        CHECK(gap.count > 0);
        *lost = gap.count;
        CHECK(CMSG_NXTHDR(header, c) == NULL);
    }
    return n;
}

static void receive(void *arg)
{
    struct sockaddr_in a = group((int)way);
    char message[SIZE + 1];
    int *pipes = arg, rx = pgm_socket(0), on = 1;
    uint32_t next = 0, lost, gaps = 0, told = 0, got = 0, i;

    OK(setsockopt(rx, IPPROTO_PGM, PGM_CONTINUE_ON_LOSS, &on, sizeof(on)));
    OK(bind(rx, SA(a), sizeof(a)));
    OK(listen(rx, 1));
    tell(pipes[3]);
    int fd = session(rx);
    CHECK(ready(fd, POLLIN, 10000) & POLLIN);
    tell(pipes[3]);
    raise(SIGSTOP);
    for (ssize_t n; (n = take(fd, message, &lost)) > 0; next = i + 1, got++) {
        EQUAL(n, SIZE);
        memcpy(&i, message, sizeof(i));
        if (!matches(message + 4, SIZE - 4, i, 4))
            FAIL("message %u is another one", i);
        CHECK(i >= next);
        if (way == RECVMSG || way == RECVMMSG)
            EQUAL(lost, i - next);
        if (way == TINY_CONTROL)
            EQUAL(lost, i > next);
        gaps += i > next;
        told += i - next;
    }
    /* A gap at the end is told with it; once. */
    if (way == RECVMSG || way == RECVMMSG)
        EQUAL(lost, MESSAGES - next);
    gaps += next < MESSAGES;
    EQUAL(take(fd, message, &lost), 0);
    EQUAL(lost, 0);
    printf("%u messages, %u gaps, %u lost\n", got, gaps, told);
    if (gaps == 0)
        FAIL("nothing was lost");
}

static void run(void)
{
    int to_sender[2], to_receiver[2], from[2];

    OK(pipe(to_sender));
    OK(pipe(to_receiver));
    OK(pipe(from));
    int sender_pipes[4] = {to_sender[0], to_sender[1], from[0], from[1]};
    int receiver_pipes[4] = {to_receiver[0], to_receiver[1], from[0], from[1]};
    pid_t tx = child(85, transmit, sender_pipes), rx = child(85, receive, receiver_pipes);

    hear(from[0]); /* listening */
    tell(to_sender[1]);
    hear(from[0]); /* first message there */
    int status;
    EQUAL(waitpid(rx, &status, WUNTRACED), rx);
    CHECK(WIFSTOPPED(status));
    tell(to_sender[1]);
    hear(from[0]); /* all sent */
    sleep_ms(200);
    OK(kill(rx, SIGCONT));
    CHILD_PASSED(rx);
    CHILD_PASSED(tx);
}

int main(void)
{
    begin(90);
    for (way = RECVMSG; way < WAYS; way++)
        run();
    return 0;
}
