"""Secrets of our own, made at random: none was ever anybody's. Each kind is a way in which people give one away."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

LETTERS, DIGITS, HEX = string.ascii_letters, string.digits, "0123456789abcdef"
WORD = LETTERS + DIGITS
BASE64 = WORD + "+/"
DJANGO = string.ascii_lowercase + DIGITS + "!@#$%^&*(-_=+)"
SIGNS = WORD + "!#$%&()*+-./:=?@[]^_{}~"
"""What a password manager takes, but for quotes, spaces and what parts fields."""

# kind: (the text, its characters, how many)
_KINDS: dict[str, tuple[str, str, int]] = {
    "AWS_SECRET_ACCESS_KEY=": ("AWS_SECRET_ACCESS_KEY={}", BASE64, 40),
    "aws_secret_access_key=": ("aws_secret_access_key={}", BASE64, 40),
    "AWS_SECRET_KEY=": ("export AWS_SECRET_KEY={}\n", BASE64, 40),
    "docker run -e": ("docker run -e AWS_SECRET_ACCESS_KEY={} img", BASE64, 40),
    "AWS_SECRET_ACCESS_KEY: ": ("AWS_SECRET_ACCESS_KEY: {}", BASE64, 40),
    "aws configure set": ("aws configure set aws_secret_access_key {}", BASE64, 40),
    "aws in code": ("new S3({{secretAccessKey:'{}'}})", BASE64, 40),
    "AWS_SESSION_TOKEN=": ("AWS_SESSION_TOKEN={}==", BASE64, 300),
    "SessionToken": ('{{"SessionToken": "{}=="}}', BASE64, 340),
    "JWT_SECRET=": ("JWT_SECRET={}", BASE64, 64),
    "ENCRYPTION_KEY=": ("ENCRYPTION_KEY={}=", BASE64, 43),
    "APP_KEY=base64:": ("APP_KEY=base64:{}=", BASE64, 43),
    "secret_key_base": ("secret_key_base: {}", HEX, 128),
    "RAILS_MASTER_KEY=": ("RAILS_MASTER_KEY={}", HEX, 32),
    "PGPASSWORD=": ("PGPASSWORD={} psql -h db", WORD, 16),
    "MYSQL_PWD=": ("MYSQL_PWD={}", WORD, 16),
    "REDISCLI_AUTH=": ("REDISCLI_AUTH={}", WORD, 16),
    "DB_PASSWORD= short": ("DB_PASSWORD={}", WORD, 9),
    "password, letters": ('password = "{}"', LETTERS, 20),
    "api_key, letters": ('api_key = "{}"', LETTERS, 32),
    "token, small letters": ('{{"token": "{}"}}', string.ascii_lowercase, 32),
    'os.environ["API_KEY"]': ('os.environ["API_KEY"] = "{}"', WORD, 20),
    "apiKey = `": ("const apiKey = `{}`", WORD, 20),
    "API_KEY, capitals": ("API_KEY={}", string.ascii_uppercase + DIGITS, 24),
    "client_secret, long": ('client_secret="{}"', WORD, 300),
    "API_TOKEN, long": ("API_TOKEN={}", WORD, 500),
    "API_TOKEN, very long": ("API_TOKEN={}\nthe end", BASE64, 3_000),
    "SECRET_KEY, quoted": ("SECRET_KEY = 'django-insecure-{}'", DJANGO, 50),
    "SECRET_KEY, unquoted": ("SECRET_KEY={}", DJANGO, 50),
    "password, signs, quoted": ("password: '{}'", SIGNS, 16),
    "password, signs, unquoted": ("DB_PASS={}Z\nDB_HOST=db", SIGNS, 20),
    "password, signs, JSON": ('{{"db": {{"password": "{}", "port": 1}}}}', SIGNS, 16),
    "sshpass": ("sshpass -p {} ssh joe@host", WORD, 12),
    "docker login": ("docker login -u joe -p {} registry.example", WORD, 16),
    "redis-cli": ("redis-cli -h cache -a {} ping", WORD, 16),
    "mysql -p": ("mysql -uroot -p{} db", WORD, 12),
    "Dockerfile ENV": ("FROM x\nENV SECRET_TOKEN {}\n", WORD, 32),
    "otpauth": ("otpauth://totp/x:joe?secret={}&issuer=x", string.ascii_uppercase + "234567", 32),
    "terraform": ('variable "db_password" {{\n  type = string\n  default = "{}"\n}}', WORD, 14),
    "name and value": ('{{"name": "DB_PASSWORD", "value": "{}"}}', WORD, 16),
    "Cookie": ("Cookie: theme=dark; sessionid={}; lang=en", WORD, 32),
    "Set-Cookie": ("Set-Cookie: session={}; HttpOnly", HEX, 64),
    "my pw is": ("my pw is {}", WORD, 12),
    "the password was changed to": ("the admin password was changed to {} today", WORD, 12),
    "user and pass": ("use login bob / pass {}", WORD, 12),
    "IDENTIFIED BY": ("CREATE USER 'bob'@'%' IDENTIFIED BY '{}';", WORD, 12),
    "WITH PASSWORD": ("ALTER ROLE bob WITH ENCRYPTED PASSWORD '{}'", WORD, 12),
    "SET PASSWORD": ("SET PASSWORD FOR 'root'@'localhost' = PASSWORD('{}')", WORD, 12),
    "sudo -S": ("echo '{}' | sudo -S apt-get update", WORD, 12),
    "--password-stdin": ("echo {} | docker login -u joe --password-stdin", WORD, 12),
    "openssl -pass": ("openssl enc -aes-256-cbc -pass pass:{} -in a", WORD, 12),
    "the password is": ("the password for prod is {}.", WORD, 12),
    "XML": ("<password>{}</password>", WORD, 12),
    "PHP": ("define('DB_PASSWORD', '{}');", WORD, 12),
}  # fmt: skip


def kinds() -> list[str]:
    """Their names."""
    return list(_KINDS)


def made(kind: str, count: int = 60, seed: int = 11) -> Iterator[tuple[str, str]]:
    """So many secrets of a kind, each in its text: (text, secret). The same on every run."""
    text, characters, size = _KINDS[kind]
    chosen = random.Random(f"{kind} {seed}")
    for _ in range(count):
        secret = "".join(chosen.choices(characters, k=size))
        yield text.format(secret), secret
