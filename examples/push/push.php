<?php
/* php push.php USER TEXT: one push from PHP with its curl extension. */

/* Returns when the gateway has it. The id makes a second try harmless: the message is delivered once. */
function push(string $user, array $data, int $tries = 5): string
{
    $id = bin2hex(random_bytes(16));
    $body = json_encode(['to' => ['users' => [$user]], 'type' => 'note', 'id' => $id, 'data' => $data], JSON_THROW_ON_ERROR);
    while (true) {
        [$status, $words, $seconds] = post($body);
        if ($status === 200 || $status === 202) {
            return $id;
        }
        if (!in_array($status, [0, 429, 503], true) || --$tries === 0) {
            throw new RuntimeException("$status: $words");
        }
        sleep($seconds);
    }
}

/* The status (0: there was no answer), what was said, and the seconds to wait before another try. */
function post(string $body): array
{
    $seconds = 1;
    $curl = curl_init(getenv('TIDEGATE_API') . '/v1/messages');
    curl_setopt_array($curl, [
        CURLOPT_POSTFIELDS => $body,
        CURLOPT_HTTPHEADER => ['Authorization: Bearer ' . getenv('TIDEGATE_API_KEY'), 'Content-Type: application/json'],
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_TIMEOUT => 10,
        CURLOPT_HEADERFUNCTION => function ($curl, $line) use (&$seconds) {
            if (preg_match('/^retry-after: *(\d+)/i', $line, $found)) {
                $seconds = (int) $found[1];
            }
            return strlen($line);
        },
    ]);
    $words = curl_exec($curl);
    return [curl_getinfo($curl, CURLINFO_RESPONSE_CODE), $words === false ? curl_error($curl) : $words, $seconds];
}

echo push($argv[1], ['text' => $argv[2]]), "\n";
