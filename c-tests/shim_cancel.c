/* pthread_cancel unwinds a thread that waits in a call, on PGM sockets and on others, and harms nothing. */
#include "check.h"
#include "cancel.h"

static void *wait_recv(void *arg)
{
    char buffer[100];

    pthread_cleanup_push(clean, NULL);
    recv(*(int *)arg, buffer, sizeof(buffer), 0);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *wait_read(void *arg)
{
    char buffer[100];

    pthread_cleanup_push(clean, NULL);
    (void)!read(*(int *)arg, buffer, sizeof(buffer));
    pthread_cleanup_pop(0);
    return NULL;
}

static void *wait_accept(void *arg)
{
    pthread_cleanup_push(clean, NULL);
    accept(*(int *)arg, NULL, NULL);
    pthread_cleanup_pop(0);
    return NULL;
}

/* Sends until the window is full. */
static void *wait_send(void *arg)
{
    static char message[1400];

    pthread_cleanup_push(clean, NULL);
    while (send(*(int *)arg, message, sizeof(message), 0) > 0)
        continue;
    pthread_cleanup_pop(0);
    return NULL;
}

int main(void)
{
    struct pgm_send_window window = {100, 0, 100000};
    struct sockaddr_in a = group(1);
    int ends[2];

    begin(30);
    /* The slow sender below has more queued than we want to wait for. */
    setenv("PGM_LINGER", "off", 1);
    int rx = listener(0), tx = sender(0);
    OK(pipe(ends));
    cancel(wait_read, ends[0]);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    cancel(wait_recv, ends[0]);

    cancel(wait_accept, rx);
    send_text(tx, "one");
    int fd = session(rx);
    EXPECT_TEXT(fd, "one");
    cancel(wait_recv, fd);
    cancel(wait_read, fd);
    send_text(tx, "two");
    EXPECT_TEXT(fd, "two");
    cancel(wait_accept, rx);

    int slow = pgm_socket(0);
    OK(setsockopt(slow, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(slow, SA(a), sizeof(a)));
    cancel(wait_send, slow);
    return 0;
}
