/* A receiver that listens before the sender comes gets everything: one message, then exit, 20 % loss. */
#include "check.h"

enum { ROUNDS = 20 };

struct round {
    int number, go[2];
};

static void one_message(void *arg)
{
    struct round *round = arg;
    char text[32], seed[16];

    hear(round->go[0]);
    snprintf(seed, sizeof(seed), "%d", 1000 + round->number);
    setenv("PGM_FAULT_SEED", seed, 1);
    int fd = sender(round->number);
    snprintf(text, sizeof(text), "the only message %d", round->number);
    send_text(fd, text);
    /* No close, no shutdown: the process ends. */
}

int main(void)
{
    struct round rounds[ROUNDS];
    pid_t pids[ROUNDS];
    char text[32], buffer[32];

    begin(90);
    setenv("PGM_FAULT_LOSS", "20%", 1);
    setenv("PGM_FAULT_SEED", "7", 1);
    /* The children wait, forked before we have any PGM socket ourselves. */
    for (int i = 0; i < ROUNDS; i++) {
        rounds[i].number = i;
        OK(pipe(rounds[i].go));
        pids[i] = child(80, one_message, &rounds[i]);
    }
    int rx[ROUNDS];
    for (int i = 0; i < ROUNDS; i++)
        rx[i] = listener(i);
    for (int i = 0; i < ROUNDS; i++)
        tell(rounds[i].go[1]);
    for (int i = 0; i < ROUNDS; i++) {
        if (!(ready(rx[i], POLLIN, 15000) & POLLIN))
            FAIL("round %d: no session", i);
        int fd = (int)OK(accept(rx[i], NULL, NULL));
        snprintf(text, sizeof(text), "the only message %d", i);
        EXPECT_TEXT(fd, text);
        if (recv(fd, buffer, sizeof(buffer), 0) != 0)
            FAIL("round %d: no graceful end: %s", i, errno_text(errno));
        OK(close(fd));
        CHILD_PASSED(pids[i]);
    }
    return 0;
}
