/*
 * Unrecoverable loss: the receiver stands still while the sender's tiny window moves on. It gets all
 * messages before the gap, then ECONNRESET exactly once, then 0. So it does when recvmmsg meets the error
 * after other messages, and when FIONREAD meets it first.
 */
/* c-tests: variants=asan */
#include "check.h"

enum { MESSAGES = 40000, SIZE = 1400, BATCH = 64 };

static enum way { RECV, RECVMMSG, FIONREAD_FIRST, WAYS } way;

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
        EQUAL(send(fd, message, SIZE, 0), SIZE);
        if (i == 0)
            hear(pipes[0]); /* the receiver has its session and stands still */
    }
    tell(pipes[3]);
    hear(pipes[0]); /* stay until the receiver has seen the loss */
}

/* Receive messages `from`..: how many there were. */
static int take(int fd, uint32_t from)
{
    static char messages[BATCH][SIZE + 1];
    struct iovec parts[BATCH];
    struct mmsghdr batch[BATCH];
    int n, waiting = -1;

    memset(batch, 0, sizeof(batch));
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){messages[i], sizeof(messages[i])};
        batch[i].msg_hdr.msg_iov = &parts[i];
        batch[i].msg_hdr.msg_iovlen = 1;
    }
    if (way == RECVMMSG) {
        n = recvmmsg(fd, batch, BATCH, 0, NULL);
    } else {
        if (way == FIONREAD_FIRST) {
            CHECK(ready(fd, POLLIN, 10000) & POLLIN);
            OK(ioctl(fd, FIONREAD, &waiting));
        }
        ssize_t size = recv(fd, messages[0], SIZE + 1, 0);
        batch[0].msg_len = (unsigned)size;
        n = size == -1 ? -1 : 1;
    }
    for (int i = 0; i < n; i++) {
        if (batch[i].msg_len == 0)
            FAIL("message %u: end of session instead of an error", from + (uint32_t)i);
        EQUAL(batch[i].msg_len, SIZE);
        if (!matches(messages[i], SIZE, from + (uint32_t)i, 0))
            FAIL("message %u is another one", from + (uint32_t)i);
    }
    return n;
}

static void receive(void *arg)
{
    char message[SIZE + 1];
    int *pipes = arg, rx = listener((int)way), error = -1, n;
    socklen_t len = sizeof(error);

    tell(pipes[3]);
    int fd = session(rx);
    EQUAL(recv(fd, message, sizeof(message), 0), SIZE);
    tell(pipes[3]);
    raise(SIGSTOP);
    uint32_t next = 1;
    const int all = POLLIN | POLLOUT | POLLRDHUP;
    int events;
    do {
        events = ready(fd, all, 10000);
        n = take(fd, next);
        next += n == -1 ? 0 : (uint32_t)n;
    } while (n != -1);
    EQUAL(errno, ECONNRESET);
    /* Others may have met the error a call earlier than they could tell it. */
    if (way == RECV)
        EQUAL(events, all | POLLHUP | POLLERR);
    printf("reset after %u messages\n", next);
    if (next == MESSAGES)
        FAIL("nothing was lost");
    for (int i = 0; i < 3; i++)
        EQUAL(recv(fd, message, sizeof(message), 0), 0);
    OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
    EQUAL(error, 0);
}

static void run(void)
{
    int to_sender[2], to_receiver[2], from[2];

    OK(pipe(to_sender));
    OK(pipe(to_receiver));
    OK(pipe(from));
    int sender_pipes[4] = {to_sender[0], to_sender[1], from[0], from[1]};
    int receiver_pipes[4] = {to_receiver[0], to_receiver[1], from[0], from[1]};
    pid_t tx = child(55, transmit, sender_pipes), rx = child(55, receive, receiver_pipes);

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
    tell(to_sender[1]);
    CHILD_PASSED(tx);
}

int main(void)
{
    begin(80);
    for (way = RECV; way < WAYS; way++)
        run();
    return 0;
}
