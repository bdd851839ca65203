# Sends a message by Perl's Net::SMTP: net_smtp_send.pl PORT < MESSAGE
use strict;
use warnings;
use Net::SMTP;

my $client = Net::SMTP->new('127.0.0.1', Port => $ARGV[0], Hello => 'client.test', Timeout => 30)
    or die "no greeting: $@";
binmode STDIN;
$client->mail('sender@client.test') or die $client->message;
$client->to('ann@mx.test') or die $client->message;
$client->data or die $client->message;
while (my $line = <STDIN>) {
    $client->datasend($line) or die $client->message;
}
$client->dataend or die $client->message;
print $client->message;
$client->quit;
