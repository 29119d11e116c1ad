/*
 * PGM_MEMORY bounds what the process has resident: a hundred sessions that nobody reads, of short and of long messages,
 * and forty senders that send all they can, while one session beside them gets every message. What does not fit
 * fails with the documented errno: a message of a gigabyte, and one sender too many.
 */
/* c-tests: time=200 */
#include "check.h"
#include "many.h"

#include <sys/mman.h>
#include <sys/wait.h>

enum { FULL = 100, GREEDY = 40, FIRST = 8, TIMES = 6, PART = 8 << 10, SHORT = 256 << 10, LONG = 512 << 10, SIZE = 1000 };

static const size_t GIGABYTE = (size_t)1 << 30;

/* PGM_MEMORY, what of it is for received and sent data that is no file, and what else may grow: a batch of messages, the
 * allocator, and a chunk of 64 KiB for each sender. */
static const long MEMORY = 32000000, DATA = MEMORY / 4 * 3, OVERHEAD = 12 << 20;

static long resident(void)
{
    return field("/proc/self/status", "VmRSS:") * 1024;
}

/* A hundred senders; once all have begun, a few have long messages while memory is ample, then all have short ones. */
static int send_much(int done, int until)
{
    static char message[LONG];
    int senders[FULL];
    char octet;

    unsetenv("PGM_MEMORY");
    setenv("PGM_WINDOW", "2M", 1);
    setenv("PGM_LINGER", "off", 1);
    setenv("PGM_RATE", "8M", 1);
    for (int i = 0; i < FULL; i++)
        senders[i] = sender(0);
    for (int i = 0; i < FULL; i++)
        send_text(senders[i], "hello");
    sleep_ms(1500);
    for (int i = 0; i < FIRST * TIMES; i++)
        EQUAL(send(senders[i % FIRST], message, LONG, 0), LONG);
    sleep_ms(3500); /* what waits in pairs and queues is on its way then */
    for (int sent = 0; sent < SHORT; sent += PART)
        for (int i = 0; i < FULL; i++)
            EQUAL(send(senders[i], message, PART, 0), PART);
    sleep_ms(2000);
    EQUAL(write(done, "x", 1), 1);
    EQUAL(read(until, &octet, 1), 0);
    return 0;
}

/* Whatever they take. */
static void send_all_they_take(const int *senders)
{
    static char message[SIZE];

    for (int i = 0; i < GREEDY; i++)
        while (send(senders[i], message, SIZE, MSG_DONTWAIT) != -1)
            ;
    EQUAL(errno, EAGAIN);
}

/* Accept what is there; how many sessions there are then. */
static int accept_all(int listener, int *sessions, int n)
{
    struct pollfd next = {listener, POLLIN, 0};

    while (n < FULL && poll(&next, 1, 0) == 1)
        OK(sessions[n++] = accept(listener, NULL, NULL));
    return n;
}

/* Octets of long messages that wait for the program: files, which no process has mapped. */
static long waiting_long(const int *sessions, int count)
{
    static char buffer[LONG + 1];
    long octets = 0;
    ssize_t n;

    for (int i = 0; i < count; i++)
        while ((n = recv(sessions[i], buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
            octets += n == LONG ? n : 0;
    return octets;
}

int main(void)
{
    static char message[SIZE], buffer[SIZE + 1];
    int done[2], until[2], status, senders[GREEDY], sessions[FULL], accepted = 0, n = 0;
    char text[32];

    begin(180);
    raise_limit();
    OK(pipe(done));
    OK(pipe(until));
    snprintf(text, sizeof(text), "%ld", MEMORY);
    setenv("PGM_MEMORY", text, 1);
    setenv("PGM_LINGER", "off", 1);
    setenv("PGM_RATE", "4M", 1);
    pid_t child = fork();
    OK(child);
    if (child == 0) {
        OK(close(until[1]));
        sleep_ms(500); /* the listeners are there then */
        return send_much(done[1], until[0]);
    }
    OK(close(until[0]));
    int full = listener(0), rx = listener(1), tx = sender(1);
    send_text(tx, "first");
    int fd = session(rx);
    EXPECT_TEXT(fd, "first");
    for (int i = 0; i < GREEDY; i++)
        senders[i] = sender(2);

    long before = resident(), most = 0;
    struct pollfd all = {done[0], POLLIN, 0};
    for (int i = 0; poll(&all, 1, 0) == 0; i++) {
        fill(message, SIZE, (uint32_t)i);
        EQUAL(send(tx, message, SIZE, 0), SIZE);
        send_all_they_take(senders);
        accepted = accept_all(full, sessions, accepted);
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), SIZE);
        if (!matches(buffer, SIZE, (uint32_t)i, 0))
            FAIL("message %d is wrong", i);
        long now = resident() - before;
        most = now > most ? now : most;
        sleep_ms(20);
    }
    printf("%ld KiB more resident at most\n", most >> 10);
    if (most > DATA + OVERHEAD)
        FAIL("%ld octets more are resident", most);
    CHECK(most > DATA / 4 && accepted == FULL); /* or nothing was full */

    long files = waiting_long(sessions, accepted);
    printf("%ld KiB of long messages waited, %d sessions\n", files >> 10, accepted);
    if (files < LONG || files > MEMORY / 2)
        FAIL("%ld octets of long messages waited", files);

    void *huge = mmap(NULL, GIGABYTE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(huge != MAP_FAILED);
    FAILS(send(tx, huge, GIGABYTE, 0), EMSGSIZE);
    FAILS(send(tx, huge, (size_t)MEMORY / 4 + 1, 0), EMSGSIZE);
    uint32_t boundary = GIGABYTE;
    FAILS(setsockopt(tx, IPPROTO_PGM, RM_SET_MESSAGE_BOUNDARY, &boundary, sizeof(boundary)), EINVAL);

    /* Each sender has 64 KiB of its quarter at least. */
    struct sockaddr_in address = group(2);
    int other;
    while (other = pgm_socket(0), connect(other, SA(address), sizeof(address)) == 0)
        n++;
    EQUAL(errno, ENOBUFS);
    EQUAL(GREEDY + 1 + n, MEMORY / 4 / (64 << 10));

    OK(close(until[1]));
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    send_text(tx, "after");
    EXPECT_TEXT(fd, "after");
    return 0;
}
