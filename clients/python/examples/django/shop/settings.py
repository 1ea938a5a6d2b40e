"""Settings of the example."""

import os

ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "shop.urls"
SECRET_KEY = "of the example"
DEBUG = False
USE_TZ = True

CACHES = {
    "default": {
        "BACKEND": "twintier.django.TwintierCache",
        "LOCATION": os.environ.get("TWINTIER_SERVER", "localhost:50051"),
        "TIMEOUT": 300,
        "OPTIONS": {
            "namespace": "shop-django",
            "serializer": "json",
            "timeout": os.environ.get("CACHE_TIMEOUT", "250ms"),
        },
    }
}
# Sessions of logins and the cache of pages use the cache, too.
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
