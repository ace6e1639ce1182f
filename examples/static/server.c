/* A static HTTP server that is ready in a millisecond: GET /?ms=200 waits 200 ms and answers.

   One thread, one request at a time on each kept-alive connection, requests without a body. All of
   its image is this one program; see the Dockerfile. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 4096, HEAD = 8192 };

struct connection {
    int fd;
    size_t filled;
    long long due; /* milliseconds of CLOCK_MONOTONIC at which the answer goes out; 0: none is due */
    struct connection *previous, *next; /* among those with an answer due */
    char head[HEAD + 1];
};

static struct connection *by_fd[CONNECTIONS];
static struct connection waiting = {.previous = &waiting, .next = &waiting};
static int in_flight, most_in_flight, stopping;
static char instance[256] = "?";

static long long now(void) {
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return moment.tv_sec * 1000LL + moment.tv_nsec / 1000000;
}

static void leave_wait(struct connection *c) {
    if (!c->due) return;
    c->previous->next = c->next;
    c->next->previous = c->previous;
    c->due = 0;
    in_flight--;
}

static void hang_up(struct connection *c) {
    leave_wait(c);
    by_fd[c->fd] = NULL;
    close(c->fd);
    free(c);
}

static void answer(struct connection *c) {
    char body[512], text[1024];
    leave_wait(c);
    int length = snprintf(body, sizeof body, "{\"instance\": \"%s\", \"max_in_flight\": %d}\n",
                          instance, most_in_flight);
    int size = snprintf(text, sizeof text,
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%s"
                        "content-length: %d\r\n\r\n%s",
                        stopping ? "connection: close\r\n" : "", length, body);
    if (write(c->fd, text, size) != size || stopping) hang_up(c);
}

static void receive(struct connection *c) {
    ssize_t got = read(c->fd, c->head + c->filled, HEAD - c->filled);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0 || c->due) { /* gone, or a second request before the first is answered */
        hang_up(c);
        return;
    }
    c->filled += got;
    c->head[c->filled] = 0;
    if (!strstr(c->head, "\r\n\r\n")) {
        if (c->filled == HEAD) hang_up(c);
        return;
    }
    char *query = strstr(c->head, "?ms=");
    char *line_end = strstr(c->head, "\r\n");
    int pause = query && query < line_end ? atoi(query + 4) : 0;
    c->filled = 0;
    c->due = now() + (pause > 0 ? pause : 0);
    struct connection *after = waiting.previous; /* most requests wait as long as the others */
    while (after != &waiting && after->due > c->due) after = after->previous;
    c->previous = after;
    c->next = after->next;
    after->next->previous = c;
    after->next = c;
    if (++in_flight > most_in_flight) most_in_flight = in_flight;
}

static void take_connections(int listener, int events) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = fd < CONNECTIONS ? calloc(1, sizeof *c) : NULL;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (!c || epoll_ctl(events, EPOLL_CTL_ADD, fd, &event)) {
            free(c);
            close(fd);
            continue;
        }
        c->fd = fd;
        by_fd[fd] = c;
    }
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address)) fail("bind");
    if (listen(listener, 1024)) fail("listen");
    return listener;
}

static int signals(void) {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
}

int main(void) {
    int port = atoi(getenv("PORT") ? getenv("PORT") : "8080");
    int listener = listen_on(port), end = signals(), events = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, seen[256];
    epoll_ctl(events, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = end;
    epoll_ctl(events, EPOLL_CTL_ADD, end, &event);
    gethostname(instance, sizeof instance - 1);
    printf("listening on port %d\n", port);
    fflush(stdout);
    while (!stopping || in_flight) {
        long long left = waiting.next->due - now();
        int wait = waiting.next == &waiting ? -1 : left > 0 ? (int)left : 0;
        int count = epoll_wait(events, seen, 256, wait);
        for (int i = 0; i < count; i++) {
            int fd = seen[i].data.fd;
            if (fd == listener) take_connections(listener, events);
            else if (fd == end) stopping = 1;
            else if (by_fd[fd]) receive(by_fd[fd]);
        }
        while (waiting.next != &waiting && waiting.next->due <= now()) answer(waiting.next);
    }
    return 0;
}
