vcl 4.1;

backend application { .host = "127.0.0.1"; .port = "8000"; }

acl purgers { "127.0.0.1"; }

sub vcl_recv {
    set req.http.host = "shop.example"; # one name for all: a page is purged under the name it was cached under
    if (req.method == "PURGE") {
        if (client.ip !~ purgers) { return (synth(403)); }
        return (purge);
    }
}
