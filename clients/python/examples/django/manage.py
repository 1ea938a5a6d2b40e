"""A shop with a cache, served by Django.

pip install 'twintier[django]'
python manage.py runserver

curl localhost:8000/products/1
curl -X POST -d price=12 localhost:8000/products/1
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    execute_from_command_line(sys.argv)
