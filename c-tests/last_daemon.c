/*
 * daemon() after socket(): the parent, which had the engine, is gone; sender, listener and session of the child live on,
 * and nothing is left when it has closed them.
 */
#include "check.h"
#include "last.h"

enum { COUNT = 200 };

/* Sends a little, becomes a daemon with a listener and a sender, and answers what it hears. */
static void serve(void *arg)
{
    int *pipes = arg;
    char text[32];
    int rx = listener(0), tx = sender(1);

    send_text(tx, "before");
    OK(daemon(0, 1));
    begin(40); /* alarms are not inherited */
    int fd = session(rx);
    for (int i = 0; i < COUNT; i++) {
        ssize_t n = OK(recv(fd, text, sizeof(text), 0));
        EQUAL(send(tx, text, (size_t)n, 0), n);
    }
    hear(pipes[0]);
    OK(close(tx));
    EQUAL(recv(fd, text, sizeof(text), 0), 0);
    _exit(0);
}

int main(void)
{
    char text[32];
    int pipes[2];

    begin(60);
    OK(pipe(pipes));
    setenv("PGM_FAULT_LOSS", "0.1", 1);
    pid_t pid = (pid_t)OK(fork());
    if (pid == 0) {
        /* Not with check.h's child(), which dies with its parent's thread. */
        begin(40);
        sleep_ms(200);
        serve(pipes);
    }
    int rx = listener(1);
    int fd = session(rx);
    CHILD_PASSED(pid);
    EXPECT_TEXT(fd, "before");
    int tx = sender(0);
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text), "number %d", i);
        send_text(tx, text);
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text), "number %d", i);
        EXPECT_TEXT(fd, text);
    }
    CHECK(lingering());
    tell(pipes[1]);
    EQUAL(recv(fd, text, sizeof(text), 0), 0);
    OK(close(tx));
    expect_nobody();
    return 0;
}
