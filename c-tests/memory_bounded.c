/*
 * A hundred sessions that nobody reads stay within PGM_MEMORY, a message of a gigabyte is refused, and another session
 * goes on meanwhile.
 */
/* c-tests: time=200 */
#include "check.h"
#include "many.h"

#include <sys/mman.h>
#include <sys/wait.h>

enum { FULL = 100, EACH = 1 << 20, PART = 16 << 10, MESSAGES = 200, SIZE = 1000 };

static const size_t GIGABYTE = (size_t)1 << 30;

/* A hundred senders, each a megabyte; they end when the pipe does. */
static int send_much(int until)
{
    static char message[PART];
    char octet;

    setenv("PGM_WINDOW", "256k", 1);
    setenv("PGM_LINGER", "off", 1);
    setenv("PGM_RATE", "4M", 1);
    int senders[FULL];
    for (int i = 0; i < FULL; i++)
        senders[i] = sender(0);
    for (int sent = 0; sent < EACH; sent += PART)
        for (int i = 0; i < FULL; i++)
            EQUAL(send(senders[i], message, PART, 0), PART);
    EQUAL(read(until, &octet, 1), 0);
    return 0;
}

int main(void)
{
    static char message[SIZE], buffer[SIZE + 1];
    int until[2], status;

    begin(180);
    OK(pipe(until));
    setenv("PGM_MEMORY", "16M", 1);
    pid_t child = fork();
    OK(child);
    if (child == 0) {
        OK(close(until[1]));
        sleep_ms(500); /* the listeners are there then */
        return send_much(until[0]);
    }
    OK(close(until[0]));
    int full = listener(0), rx = listener(1), tx = sender(1);
    send_text(tx, "first");
    int fd = session(rx);
    EXPECT_TEXT(fd, "first");
    long before = field("/proc/self/status", "VmRSS:");

    for (int i = 0; i < MESSAGES; i++) {
        fill(message, SIZE, (uint32_t)i);
        EQUAL(send(tx, message, SIZE, 0), SIZE);
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), SIZE);
        if (!matches(buffer, SIZE, (uint32_t)i, 0))
            FAIL("message %d is wrong", i);
        sleep_ms(20);
    }

    void *huge = mmap(NULL, GIGABYTE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(huge != MAP_FAILED);
    FAILS(send(tx, huge, GIGABYTE, 0), EMSGSIZE);
    send_text(tx, "after");
    EXPECT_TEXT(fd, "after");

#ifndef __SANITIZE_ADDRESS__
    /* What sessions hold, what waits in a hundred pairs, and room for all else. */
    long grown = field("/proc/self/status", "VmRSS:") - before;
    if (grown > 96 << 10)
        FAIL("%ld KiB more", grown);
#endif
    OK(close(until[1]));
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(close(full));
    return 0;
}
