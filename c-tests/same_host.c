/*
 * Two senders and three receivers, five processes on one host that share the UDP ports, each losing
 * 10 % of what arrives: everything is repaired, whatever the order in which the processes start.
 * (A unicast NAK reaches only one of the sockets bound to its port; usually not the right one.)
 */
/* c-tests: time=120 */
#include "check.h"

enum { SENDERS = 2, RECEIVERS = 3, MESSAGES = 300, SIZE = 1200 };

struct process {
    int is_sender;
    unsigned me; /* number among its kind */
    int n;       /* group */
    int go[2], there[2]; /* pipes: "send now" to it, "I am there" from it */
    pid_t pid;
};

static void lose(unsigned seed)
{
    char text[16];
    setenv("PGM_FAULT_LOSS", "10%", 1);
    snprintf(text, sizeof(text), "%u", seed);
    setenv("PGM_FAULT_SEED", text, 1);
}

static void transmit(int go, int there, unsigned me, int n)
{
    struct sockaddr_in a = group(n);
    uint32_t percent = 75; /* receivers that start after us are late ones */
    char message[SIZE];
    int fd = pgm_socket(0);

    OK(setsockopt(fd, IPPROTO_PGM, RM_LATEJOIN, &percent, sizeof(percent)));
    OK(connect(fd, SA(a), sizeof(a)));
    tell(there);
    hear(go);
    for (unsigned i = 0; i < MESSAGES; i++) {
        fill(message, SIZE, me * 1000000 + i);
        memcpy(message, &me, sizeof(me));
        EQUAL(send(fd, message, SIZE, 0), SIZE);
    }
}

static void receive(int there, int n)
{
    int rx = listener(n), fd[SENDERS];
    char message[SIZE + 1];
    unsigned who, seen = 0;

    tell(there);
    for (int s = 0; s < SENDERS; s++)
        fd[s] = session(rx);
    for (int s = 0; s < SENDERS; s++) {
        for (unsigned i = 0; i < MESSAGES; i++) {
            ssize_t got = recv(fd[s], message, sizeof(message), 0);
            if (got != SIZE)
                FAIL("session %d, message %u: %zd %s", s, i, got, errno_text(errno));
            memcpy(&who, message, sizeof(who));
            CHECK(who < SENDERS);
            if (!matches(message + 4, SIZE - 4, who * 1000000 + i, 4))
                FAIL("session %d, sender %u: message %u is wrong", s, who, i);
        }
        CHECK(!(seen & 1u << who));
        seen |= 1u << who;
        EQUAL(recv(fd[s], message, sizeof(message), 0), 0);
    }
}

static void run(void *arg)
{
    struct process *p = arg;

    lose((unsigned)p->n * 100 + p->me + (p->is_sender ? 0 : 10));
    if (p->is_sender)
        transmit(p->go[0], p->there[1], p->me, p->n);
    else
        receive(p->there[1], p->n);
}

static void start(struct process *p, int is_sender, unsigned me, int n)
{
    p->is_sender = is_sender;
    p->me = me;
    p->n = n;
    OK(pipe(p->go));
    OK(pipe(p->there));
    p->pid = child(100, run, p);
    hear(p->there[0]);
}

/* Each letter is a process that starts: S a sender, R a receiver. */
static void order(const char *letters, int n)
{
    struct process all[SENDERS + RECEIVERS];
    unsigned senders = 0, receivers = 0;
    long long begun = now_ms();

    for (int i = 0; letters[i]; i++)
        start(&all[i], letters[i] == 'S', letters[i] == 'S' ? senders++ : receivers++, n);
    for (int i = 0; letters[i]; i++)
        if (all[i].is_sender)
            tell(all[i].go[1]);
    for (int i = 0; letters[i]; i++) {
        CHILD_PASSED(all[i].pid);
        for (int k = 0; k < 2; k++)
            close(all[i].go[k]), close(all[i].there[k]);
    }
    printf("%s: %lld ms\n", letters, now_ms() - begun);
}

int main(void)
{
    static const char *orders[] = {"SSRRR", "SRSRR", "SRRSR", "SRRRS", "RSSRR",
                                   "RSRSR", "RSRRS", "RRSSR", "RRSRS", "RRRSS"};
    begin(120);
    for (int i = 0; i < 10; i++)
        order(orders[i], i);
    return 0;
}
