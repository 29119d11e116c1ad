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

/* With a header that the library looks at again when the call has returned. */
static void *wait_recvmsg(void *arg)
{
    static char room[64];
    static struct mmsghdr headers[5];

    headers[0].msg_hdr.msg_control = room;
    headers[0].msg_hdr.msg_controllen = sizeof(room);
    pthread_cleanup_push(clean, NULL);
    recvmsg(*(int *)arg, &headers[0].msg_hdr, 0);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *wait_recvmmsg(void *arg)
{
    static struct mmsghdr headers[5];

    pthread_cleanup_push(clean, NULL);
    recvmmsg(*(int *)arg, headers, 5, 0, NULL);
    pthread_cleanup_pop(0);
    return NULL;
}

/* Until there is no room. */
static void *wait_sendmsg(void *arg)
{
    static char octets[1000];
    static struct iovec part = {octets, sizeof(octets)};
    static struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

    pthread_cleanup_push(clean, NULL);
    while (sendmsg(*(int *)arg, &header, 0) > 0)
        continue;
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
    cancel(wait_recvmsg, ends[0]);
    cancel(wait_recvmmsg, ends[0]);
    cancel(wait_sendmsg, ends[0]);
    int plain = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
    OK(listen(plain, 1));
    cancel(wait_accept, plain);

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
