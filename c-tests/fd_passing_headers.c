/*
 * SCM_RIGHTS wherever the header is and however many there are: on this stack and far up it, on the stack of a thread, of
 * a signal handler or of a coroutine, in memory that is no stack; the first of several headers or the last. Who gives
 * knows it, and who gets it.
 */
/* c-tests: variants=asan */
#include "check.h"
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { MOST = 8, STACK = 64 << 10, FAR = 40000 };

struct letter {
    struct mmsghdr headers[MOST];
    struct iovec parts[MOST];
    char octets[MOST], room[MOST][CMSG_SPACE(sizeof(int))];
};

static int channel[2], to_other[2], tx;

static void write_letter(struct letter *l, int count, int with)
{
    memset(l, 0, sizeof(*l));
    for (int i = 0; i < count; i++) {
        l->octets[i] = 'a';
        l->parts[i] = (struct iovec){&l->octets[i], 1};
        l->headers[i].msg_hdr.msg_iov = &l->parts[i];
        l->headers[i].msg_hdr.msg_iovlen = 1;
        if (i == with) {
            l->headers[i].msg_hdr.msg_control = l->room[i];
            l->headers[i].msg_hdr.msg_controllen = sizeof(l->room[i]);
        }
    }
}

/* What came is a PGM socket if it has the address of one. */
static void check_came(struct letter *l, int with)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(&l->headers[with].msg_hdr);
    struct sockaddr_in name;
    socklen_t len = sizeof(name);
    int fd;

    CHECK(control != NULL && control->cmsg_type == SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(control), sizeof(fd));
    OK(getpeername(fd, SA(name), &len));
    EQUAL(name.sin_family, AF_INET);
    OK(close(fd));
}

/* Headers but one are without a descriptor. */
static void give(int to, int fd, struct letter *l, int count, int with, int many)
{
    write_letter(l, count, with);
    struct cmsghdr *control = CMSG_FIRSTHDR(&l->headers[with].msg_hdr);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(control), &fd, sizeof(fd));
    if (many)
        EQUAL(sendmmsg(to, l->headers, (unsigned)count, 0), count);
    else
        EQUAL(sendmsg(to, &l->headers[0].msg_hdr, 0), 1);
}

static int boundary(int fd, uint32_t size)
{
    return setsockopt(fd, IPPROTO_PGM, RM_SET_MESSAGE_BOUNDARY, &size, sizeof(size));
}

/* Another process: announces a message of which the giver sends the parts. */
static void other(void *arg)
{
    char octet, room[CMSG_SPACE(sizeof(int))];
    struct iovec part = {&octet, 1};
    int fd;
    (void)arg;

    OK(close(to_other[0]));
    for (;;) {
        struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
        if (OK(recvmsg(to_other[1], &header, 0)) == 0)
            return;
        if (CMSG_FIRSTHDR(&header) == NULL)
            continue;
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(fd));
        OK(boundary(fd, 6));
        OK(close(fd));
        EQUAL(send(to_other[1], "x", 1, 0), 1);
    }
}

static void share(struct letter *l, int count, int many)
{
    int fd = sender(1);
    char octet;

    give(to_other[0], fd, l, count, count - 1, many);
    EQUAL(recv(to_other[0], &octet, 1, 0), 1);
    FAILS(send(fd, "too long", 8, 0), EMSGSIZE);
    send_text(fd, "abcdef");
    OK(close(fd));
}

/* There and back with this letter. */
static void pass(struct letter *l, int count, int with, int many)
{
    give(channel[0], tx, l, count, with, many);
    write_letter(l, count, with);
    errno = 1234;
    if (many)
        EQUAL(recvmmsg(channel[1], l->headers, (unsigned)count, 0, NULL), count);
    else
        EQUAL(recvmsg(channel[1], &l->headers[0].msg_hdr, 0), 1);
    EQUAL(errno, 1234);
    check_came(l, with);
}

static void pass_all(struct letter *l)
{
    pass(l, 1, 0, 0);
    for (int count = 1; count <= MOST; count++)
        for (int with = 0; with < count; with++)
            pass(l, count, with, 1);
    share(l, 1, 0);
    share(l, 1, 1);
    share(l, 3, 1);
    share(l, MOST, 1);
}

static __attribute__((noinline)) void pass_from_afar(struct letter *l)
{
    volatile char between[FAR];

    between[0] = between[FAR - 1] = 0;
    pass_all(l);
    between[FAR / 2] = 0;
}

static void here(void)
{
    struct letter l;

    pass_all(&l);
    pass_from_afar(&l);
}

static void *in_thread(void *arg)
{
    here();
    if (arg != NULL)
        pass_all(arg);
    return NULL;
}

static void on_signal(int signal)
{
    (void)signal;
    here();
}

static ucontext_t back, there;
static struct letter *handed;

static void coroutine(void)
{
    here();
    pass_all(handed);
}

int main(void)
{
    static struct letter fixed;
    static char stack[2][STACK];
    struct letter mine;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    stack_t alternate = {.ss_sp = stack[0], .ss_size = STACK};
    pthread_t thread;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (sizeof(struct letter) / page + 2) * page;

    begin(60);
    setenv("PGM_LINGER", "off", 1);
    OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, to_other));
    pid_t pid = child(60, other, NULL);
    OK(close(to_other[1]));
    tx = sender(0);
    OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel));
    here();
    pass_all(&fixed);
    struct letter *heap = malloc(sizeof(*heap));
    pass_all(heap);
    free(heap);
    /* Up to the last octet of what is mapped. */
    char *map = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    OK(mprotect(map + whole - page, page, PROT_NONE));
    pass_all((struct letter *)(void *)(map + whole - page - (sizeof(struct letter) + 7) / 8 * 8));

    EQUAL(pthread_create(&thread, NULL, in_thread, &mine), 0);
    EQUAL(pthread_join(thread, NULL), 0);
    OK(sigaltstack(&alternate, NULL));
    sigaction(SIGUSR1, &action, NULL);
    EQUAL(raise(SIGUSR1), 0);
    OK(getcontext(&there));
    there.uc_stack.ss_sp = stack[1];
    there.uc_stack.ss_size = STACK;
    there.uc_link = &back;
    handed = &mine;
    makecontext(&there, coroutine, 0);
    OK(swapcontext(&back, &there));
    OK(close(to_other[0]));
    CHILD_PASSED(pid);
    return 0;
}
