/* Threads with the smallest stack, and handlers on one of their own: nothing here needs more. */
#include "check.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

enum { STACK = 16384, SIZE = 300000, HANDLER = 8192 };

static unsigned char message[SIZE], buffer[SIZE];
static int rx, tx, rounds;

static void *all_calls(void *arg)
{
    int ends[2], file = (int)OK(memfd_create("file", 0));
    off_t offset = 0;

    (void)arg;
    tx = sender(0);
    OK(send(tx, message, 1000, 0));
    OK(send(tx, message, SIZE, 0));
    int fd = session(rx);
    EQUAL(recv(fd, buffer, 1000, 0), 1000);
    EQUAL(recv(fd, buffer, SIZE, MSG_WAITALL), SIZE);

    EQUAL(write(file, message, 1000), 1000);
    EQUAL(sendfile(tx, file, &offset, 1000), 1000);
    OK(pipe(ends));
    for (int moved = 0; moved < 1000;)
        moved += (int)OK(splice(fd, NULL, ends[1], NULL, 1000, 0));
    EQUAL(read(ends[0], buffer, 1000), 1000);
    CHECK(memcmp(buffer, message, 1000) == 0);
    OK(close(fd));
    return NULL;
}

static void handler(int signal)
{
    char *args[] = {(char *)"true", NULL};
    int status;

    (void)signal;
    EQUAL(send(tx, "x", 1, 0), 1);
    pid_t pid = (pid_t)OK(fork());
    if (pid == 0) {
        execv("/bin/true", args);
        _exit(1);
    }
    EQUAL(waitpid(pid, &status, 0), pid);
    EQUAL(status, 0);
    FAILS(execv("/", args), EACCES);
    rounds++;
}

/* The stack of a handler with nothing below it. */
static void set_stack(void)
{
    struct sigaction action;
    stack_t stack;
    char *room = mmap(NULL, 2 * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(room != MAP_FAILED);
    OK(mprotect(room, STACK, PROT_NONE));
    memset(&stack, 0, sizeof(stack));
    stack.ss_sp = room + STACK;
    stack.ss_size = HANDLER;
    OK(sigaltstack(&stack, NULL));
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = SA_ONSTACK;
    OK(sigaction(SIGUSR1, &action, NULL));
}

int main(void)
{
    pthread_attr_t attributes;
    pthread_t thread;

    begin(30);
    fill(message, SIZE, 1);
    rx = listener(0);
    pthread_attr_init(&attributes);
    EQUAL(pthread_attr_setstacksize(&attributes, STACK), 0);
    EQUAL(pthread_create(&thread, &attributes, all_calls, NULL), 0);
    EQUAL(pthread_join(thread, NULL), 0);

    set_stack();
    raise(SIGUSR1);
    EQUAL(rounds, 1);
    return 0;
}
