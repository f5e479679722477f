// mitmesh: brings connections of chosen processes to the proxy, and tells the proxy who made them.
//
// All programs hang on the root of the cgroup tree, beside whatever else hangs there; maps say what they do:
//   connect    a TCP connect that is chosen is turned to the proxy; one to the proxy itself is only remembered
//   sendmsg    UDP to a redirected port (QUIC) is refused, so that clients fall back to TCP
//   sockops    an established connection gets its record, under its four-tuple, until it is closed; the proxy's
//              listening sockets are kept in a map from which the kernel itself takes them when they are closed
//   getsockopt the proxy asks its accepted socket where the client wanted to go, and who the client is
//
// A record answers only for the connection it was made for: the initial sequence number that the proxy's side chose is
// compared. A process in a network namespace of its own can imitate addresses and ports, not that number.
//
// Only structs of the user API are used, so the headers of any recent kernel do. Ports and addresses are in network
// order unless said otherwise; IPv4 addresses are kept as IPv4-mapped IPv6 ones.

#include <uapi/linux/bpf.h>

#define INET 2
#define INET6 10
#define STREAM 1
#define DATAGRAM 2
#define ECONNREFUSED 111
#define MAPPED bpf_htonl(0xffff)

#ifndef ENTRIES
#define ENTRIES 65536
#endif
#define DEPTH 12 // levels of the cgroup tree that are looked at; Kubernetes in systemd has 5

#define PASS_WHEN_DOWN 1
#define HOST_LISTED 2
#define HOST_ALL 4

#define REDIRECTED 1
#define SAME_CGROUP 2 // as the process that asks: a proxy's own connect, that should have been left out

#define IP_LEVEL 0
#define IPV6_LEVEL 41
#define ORIGINAL_DST 80
#define CALLER 0x6d65 // our own option, at level 0: a struct record

enum counter { N_REDIRECTED, N_OPEN, N_REFUSED, N_PASSED, N_UDP, N_REMEMBERED, N_FORGOTTEN, N_ANSWERED, COUNTERS };

struct address {
    u32 word[4];
};

struct config {
    u64 version; // of this file, so that a loader knows its own
    u64 netns;   // cookie of the proxy's network namespace
    u64 owner;   // random, of the attach in force; a loader that follows for another ends
    struct address target[2]; // where connections are turned to: for IPv4, for IPv6; zero: nowhere
    u32 flags;
    u16 target_port[2];
    u16 ports[8]; // that are redirected; zero ends the list
    u16 own[8];   // other ports of the proxy, which clients connect to openly
};

struct record {
    u32 size; // of this struct, so that a reader knows what it has
    u32 flags;
    struct address wanted; // where the client wanted to go
    u16 wanted_port;
    u16 family; // of `wanted`: INET or INET6
    u32 sequence; // the first sequence number of the proxy's side
    u32 pid;      // thread
    u32 tgid;     // process
    u32 uid;
    u32 gid;
    u64 cgroup;
    u64 cookie; // of the client's socket
    char comm[16];
};

struct flow {
    struct address client;
    struct address proxy;
    u16 client_port; // host order, both
    u16 proxy_port;
};

BPF_ARRAY(mitmesh_config, struct config, 1);
BPF_ARRAY(mitmesh_counts, u64, COUNTERS);
BPF_TABLE("lru_hash", u64, struct record, mitmesh_opening, ENTRIES / 4);
BPF_TABLE("lru_hash", struct flow, struct record, mitmesh_flows, ENTRIES);
BPF_HASH(mitmesh_chosen, u64, u32, 8192); // cgroup ids whose processes are redirected, with their children's
BPF_HASH(mitmesh_exempt, u64, u32, 256);  // cgroup ids that never are: the proxy's own
BPF_TABLE("lru_hash", struct address, u64, mitmesh_listed, 32768); // addresses of LLM hosts

// The proxy's listening sockets, IPv4 and IPv6. As BCC's BPF_SOCKMAP, with a look-up, which is a struct bpf_sock that
// must be released.
struct mitmesh_listen_table_t {
    u32 key;
    int leaf;
    int *(*lookup)(u32 *);
    int (*sock_map_update)(void *, void *, u64);
    u32 max_entries;
};
__attribute__((section("maps/sockmap"))) struct mitmesh_listen_table_t mitmesh_listen = {.max_entries = 2};

// The verifier wants each field of a context read by itself, at its own offset; clang would merge or share reads.
#define FIELD(of) (*(volatile u32 *)&(of))

static inline void count(int which) {
    u64 *value = mitmesh_counts.lookup(&which);
    if (value)
        __sync_fetch_and_add(value, 1);
}

static inline bool is_mapped(const struct address *a) {
    return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == MAPPED;
}

static inline void map_into(struct address *a, u32 ip4) {
    a->word[0] = a->word[1] = 0;
    a->word[2] = MAPPED;
    a->word[3] = ip4;
}

static inline bool is_unset(const struct address *a) {
    return (a->word[0] | a->word[1] | a->word[2] | a->word[3]) == 0;
}

// Also the unspecified address: a connect to it is one to this machine.
static inline bool is_loopback(const struct address *a) {
    if (is_mapped(a))
        return a->word[3] == 0 || (bpf_ntohl(a->word[3]) >> 24) == 127;
    return (a->word[0] | a->word[1] | a->word[2]) == 0 && (a->word[3] == 0 || a->word[3] == bpf_htonl(1));
}

static inline bool equal(const struct address *a, const struct address *b) {
    return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] && a->word[3] == b->word[3];
}

static inline bool has_port(const u16 *ports, u16 port) {
#pragma unroll
    for (int i = 0; i < 8; i++)
        if (ports[i] == port)
            return port != 0;
    return false;
}

static inline bool is_chosen(void) {
    for (int level = 0; level < DEPTH; level++) {
        u64 id = bpf_get_current_ancestor_cgroup_id(level);
        if (id == 0)
            return false;
        if (mitmesh_chosen.lookup(&id))
            return true;
    }
    return false;
}

// Is a connect to this address and port, of the current process, one that the proxy is to have?
static inline bool is_wanted(struct bpf_sock_addr *ctx, struct config *c, struct address *to, u16 port) {
    if (!has_port(c->ports, port) || is_loopback(to))
        return false;
    u64 cgroup = bpf_get_current_cgroup_id();
    if (mitmesh_exempt.lookup(&cgroup))
        return false;
    if (is_chosen())
        return true;
    if (!(c->flags & HOST_ALL) && !(c->flags & HOST_LISTED && mitmesh_listed.lookup(to)))
        return false;
    // Nobody named this process. Where the proxy is at a loopback address, the host is who has that loopback.
    return !is_loopback(&c->target[is_mapped(to) ? 0 : 1]) || bpf_get_netns_cookie(ctx) == c->netns;
}

static inline bool is_own(struct bpf_sock_addr *ctx, struct config *c, struct address *to, u16 port) {
    int six = !is_mapped(to);
    if (port != c->target_port[six] && !has_port(c->own, port))
        return false;
    if (is_loopback(to))
        return bpf_get_netns_cookie(ctx) == c->netns;
    return equal(to, &c->target[six]);
}

static inline void remember(struct bpf_sock_addr *ctx, struct address *to, u16 port, u32 flags) {
    struct record r = {};
    u64 cookie = bpf_get_socket_cookie(ctx), who = bpf_get_current_pid_tgid(), owner = bpf_get_current_uid_gid();
    struct record *known = mitmesh_opening.lookup(&cookie);
    if (!(flags & REDIRECTED) && known && known->flags & REDIRECTED)
        return; // another program of ours has just turned it here
    r.size = sizeof(r);
    r.flags = flags;
    r.wanted = *to;
    r.wanted_port = port;
    r.family = is_mapped(to) ? INET : INET6;
    r.pid = who;
    r.tgid = who >> 32;
    r.uid = owner;
    r.gid = owner >> 32;
    r.cgroup = bpf_get_current_cgroup_id();
    r.cookie = cookie;
    bpf_get_current_comm(r.comm, sizeof(r.comm));
    mitmesh_opening.update(&cookie, &r);
    count(flags & REDIRECTED ? N_REDIRECTED : N_OPEN);
}

// Does the proxy listen, and can this process reach it there? Asked of the kernel, at each connect.
static inline bool is_up(struct bpf_sock_addr *ctx, struct config *c, u32 six) {
    if (is_unset(&c->target[six]))
        return false;
    if (is_loopback(&c->target[six]) && bpf_get_netns_cookie(ctx) != c->netns)
        return false; // a pod's loopback is its own
    struct bpf_sock *listener = (struct bpf_sock *)mitmesh_listen.lookup(&six);
    if (!listener)
        return false;
    bpf_sk_release(listener);
    return true;
}

static inline int refuse(int which) {
    count(which);
#ifdef SET_RETVAL
    bpf_set_retval(-ECONNREFUSED);
#endif
    return 0;
}

static inline int judge(struct bpf_sock_addr *ctx, struct address *to, bool *turn, struct address *proxy, u16 *proxy_port) {
    int zero = 0;
    u16 port = ctx->user_port;
    struct config *c = mitmesh_config.lookup(&zero);
    if (!c)
        return 1;
    if (ctx->type == DATAGRAM)
        return is_wanted(ctx, c, to, port) ? refuse(N_UDP) : 1;
    if (ctx->type != STREAM)
        return 1;
    if (is_own(ctx, c, to, port)) {
        remember(ctx, to, port, 0);
        return 1;
    }
    if (!is_wanted(ctx, c, to, port))
        return 1;
    u32 six = !is_mapped(to);
    if (!is_up(ctx, c, six)) {
        if (!(c->flags & PASS_WHEN_DOWN))
            return refuse(N_REFUSED);
        count(N_PASSED);
        return 1;
    }
    remember(ctx, to, port, REDIRECTED);
    *turn = true;
    *proxy = six ? c->target[1] : c->target[0];
    *proxy_port = six ? c->target_port[1] : c->target_port[0];
    return 1;
}

int mitmesh_conn4(struct bpf_sock_addr *ctx) {
    struct address to = {{0, 0, MAPPED, ctx->user_ip4}}, proxy = {};
    bool turn = false;
    u16 port = 0;
    int verdict = judge(ctx, &to, &turn, &proxy, &port);
    if (turn) {
        ctx->user_ip4 = proxy.word[3];
        ctx->user_port = port;
    }
    return verdict;
}

int mitmesh_conn6(struct bpf_sock_addr *ctx) {
    struct address to = {{ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}}, proxy = {};
    bool turn = false;
    u16 port = 0;
    int verdict = judge(ctx, &to, &turn, &proxy, &port);
    if (turn) {
        ctx->user_ip6[0] = proxy.word[0];
        ctx->user_ip6[1] = proxy.word[1];
        ctx->user_ip6[2] = proxy.word[2];
        ctx->user_ip6[3] = proxy.word[3];
        ctx->user_port = port;
    }
    return verdict;
}

static inline int judge_datagram(struct bpf_sock_addr *ctx, struct address *to) {
    int zero = 0;
    struct config *c = mitmesh_config.lookup(&zero);
    return c && is_wanted(ctx, c, to, ctx->user_port) ? refuse(N_UDP) : 1;
}

int mitmesh_udp4(struct bpf_sock_addr *ctx) {
    struct address to = {{0, 0, MAPPED, ctx->user_ip4}};
    return judge_datagram(ctx, &to);
}

int mitmesh_udp6(struct bpf_sock_addr *ctx) {
    struct address to = {{ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
    return judge_datagram(ctx, &to);
}

// The four-tuple as the client's socket has it.
static inline void tuple(struct bpf_sock_ops *ctx, struct flow *f) {
    u32 client = FIELD(ctx->local_ip4), proxy = FIELD(ctx->remote_ip4);
    f->client.word[0] = FIELD(ctx->local_ip6[0]);
    f->client.word[1] = FIELD(ctx->local_ip6[1]);
    f->client.word[2] = FIELD(ctx->local_ip6[2]);
    f->client.word[3] = FIELD(ctx->local_ip6[3]);
    f->proxy.word[0] = FIELD(ctx->remote_ip6[0]);
    f->proxy.word[1] = FIELD(ctx->remote_ip6[1]);
    f->proxy.word[2] = FIELD(ctx->remote_ip6[2]);
    f->proxy.word[3] = FIELD(ctx->remote_ip6[3]);
    if (FIELD(ctx->family) == INET || is_mapped(&f->proxy)) {
        map_into(&f->client, client);
        map_into(&f->proxy, proxy);
    }
    f->client_port = FIELD(ctx->local_port);
    f->proxy_port = bpf_ntohl(FIELD(ctx->remote_port));
}

static inline void established(struct bpf_sock_ops *ctx) {
    struct flow f = {};
    u64 cookie = bpf_get_socket_cookie(ctx);
    struct record *opening = mitmesh_opening.lookup(&cookie);
    if (!opening)
        return;
    struct record r = *opening;
    mitmesh_opening.delete(&cookie);
    r.sequence = ctx->rcv_nxt;
    tuple(ctx, &f);
    mitmesh_flows.update(&f, &r);
    count(N_REMEMBERED);
    bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static inline void closed(struct bpf_sock_ops *ctx) {
    struct flow f = {};
    tuple(ctx, &f);
    struct record *r = mitmesh_flows.lookup(&f);
    if (r && r->cookie == bpf_get_socket_cookie(ctx)) {
        mitmesh_flows.delete(&f);
        count(N_FORGOTTEN);
    }
}

static inline void listens(struct bpf_sock_ops *ctx) {
    int zero = 0;
    u32 six = ctx->family == INET6;
    struct config *c = mitmesh_config.lookup(&zero);
    if (!c || bpf_get_netns_cookie(ctx) != c->netns)
        return;
    if (bpf_htons(ctx->local_port) != (six ? c->target_port[1] : c->target_port[0]))
        return;
    struct address here = {};
    if (six) {
        here.word[0] = FIELD(ctx->local_ip6[0]);
        here.word[1] = FIELD(ctx->local_ip6[1]);
        here.word[2] = FIELD(ctx->local_ip6[2]);
        here.word[3] = FIELD(ctx->local_ip6[3]);
    } else {
        here.word[3] = FIELD(ctx->local_ip4);
        here.word[2] = here.word[3] ? MAPPED : 0;
    }
    if (is_unset(&here) || equal(&here, six ? &c->target[1] : &c->target[0]))
        mitmesh_listen.sock_map_update(ctx, &six, BPF_ANY);
}

int mitmesh_sockops(struct bpf_sock_ops *ctx) {
    switch (ctx->op) {
    case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
        established(ctx);
        break;
    case BPF_SOCK_OPS_STATE_CB:
        if (ctx->args[1] == BPF_TCP_CLOSE)
            closed(ctx);
        break;
    case BPF_SOCK_OPS_TCP_LISTEN_CB:
        listens(ctx);
        break;
    }
    return 1;
}

// The record of an accepted socket: of the very connection it is the other end of.
static inline struct record *record_of(struct bpf_sock *sk) {
    struct flow f = {};
    u32 family = FIELD(sk->family), client = FIELD(sk->dst_ip4), proxy = FIELD(sk->src_ip4);
    f.client.word[0] = FIELD(sk->dst_ip6[0]);
    f.client.word[1] = FIELD(sk->dst_ip6[1]);
    f.client.word[2] = FIELD(sk->dst_ip6[2]);
    f.client.word[3] = FIELD(sk->dst_ip6[3]);
    f.proxy.word[0] = FIELD(sk->src_ip6[0]);
    f.proxy.word[1] = FIELD(sk->src_ip6[1]);
    f.proxy.word[2] = FIELD(sk->src_ip6[2]);
    f.proxy.word[3] = FIELD(sk->src_ip6[3]);
    if (family == INET) {
        map_into(&f.client, client);
        map_into(&f.proxy, proxy);
    } else if (family != INET6) {
        return NULL;
    }
    f.client_port = bpf_ntohs(*(volatile u16 *)&sk->dst_port);
    f.proxy_port = FIELD(sk->src_port);
    struct record *r = mitmesh_flows.lookup(&f);
    struct bpf_tcp_sock *tcp = r ? bpf_tcp_sock(sk) : NULL;
    return tcp && tcp->snd_una - (u32)tcp->bytes_acked == r->sequence ? r : NULL;
}

static inline void answer(struct bpf_sockopt *ctx, int length) {
    ctx->optlen = length;
    barrier(); // clang would merge both stores into one of eight bytes, which the verifier refuses
    ctx->retval = 0;
    count(N_ANSWERED);
}

struct in4 {
    u16 family, port;
    u32 address;
    u64 zero;
};

struct in6 {
    u16 family, port;
    u32 flow;
    struct address address;
    u32 scope;
};

int mitmesh_getopt(struct bpf_sockopt *ctx) {
    int level = ctx->level, option = ctx->optname;
    if (!(option == ORIGINAL_DST && (level == IP_LEVEL || level == IPV6_LEVEL)) && !(option == CALLER && level == IP_LEVEL))
        return 1;
    struct bpf_sock *sk = ctx->sk;
    if (!sk || sk->protocol != 6)
        return 1;
    struct record *r = record_of(sk);
    if (!r)
        return 1;
    void *value = ctx->optval, *end = ctx->optval_end;
    if (option == CALLER) {
        struct record *out = value;
        if ((void *)(out + 1) > end)
            return 1;
        *out = *r;
        if (r->cgroup == bpf_get_current_cgroup_id())
            out->flags |= SAME_CGROUP;
        answer(ctx, sizeof(*out));
    } else if (!(r->flags & REDIRECTED)) {
        return 1; // it came to the proxy by itself
    } else if (level == IP_LEVEL && r->family == INET) {
        struct in4 *out = value;
        if ((void *)(out + 1) > end)
            return 1;
        out->family = INET;
        out->port = r->wanted_port;
        out->address = r->wanted.word[3];
        out->zero = 0;
        answer(ctx, sizeof(*out));
    } else if (level == IPV6_LEVEL && r->family == INET6) {
        struct in6 *out = value;
        if ((void *)(out + 1) > end)
            return 1;
        out->family = INET6;
        out->port = r->wanted_port;
        out->flow = 0;
        out->address = r->wanted;
        out->scope = 0;
        answer(ctx, sizeof(*out));
    }
    return 1;
}
